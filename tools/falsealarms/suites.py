"""Larger programs, with one machine for all that they are asked to do: git, sqlite3 and python3.

Each has tasks; a run is one of them, with files of its own, and what it stands on. Git's repositories are made before,
outside of the cgroup.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from random import Random

from rig.process import run as run_command

from .inputs import Maker
from .programs import Choice, Program
from .running import INPUTS, LOCALES, OUTPUTS, Run

Task = Callable[[Maker], tuple[str, ...]]
_WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@localhost", "GIT_COMMITTER_NAME": "a"}
_GIT = {
    **_WHO,
    "GIT_COMMITTER_EMAIL": "a@localhost",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_PAGER": "cat",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_CONFIG_KEY_1": "pack.threads",
    "GIT_CONFIG_VALUE_1": "1",
}


def _suite(
    key: str, before: tuple[str, ...], tasks: Mapping[str, Task], environ: Mapping[str, str], feeds: bool
) -> Program:
    """feeds: the last word of a task is what standard input brings, and not a word."""
    names = sorted(tasks)

    def draw(random: Random) -> Choice:
        return (
            random.choice(names),
            random.choice(INPUTS[1:] if feeds else INPUTS),
            random.choice(OUTPUTS),
            random.choice(LOCALES),
            random.getrandbits(20),
        )

    def make(choice: Choice, maker: Maker) -> Run:
        name, source, output, locale, _ = map(str, choice)
        words = (*before, *tasks[name](maker))
        given = maker.text(200)
        if feeds:
            given, words = words[-1].encode(), words[:-1]
        return Run(words, source, output, locale, given, environ)

    return Program(key, key, draw, make)


def _repository(maker: Maker) -> None:
    """A repository in the run's directory: some commits, a branch, a change that is not committed."""
    kept = maker.where.parent / f"repository-{type(maker).__name__}-{maker.random.randrange(4)}"
    if not kept.exists():
        kept.mkdir()
        _make_repository(type(maker)(maker.random, kept))
    shutil.copytree(kept, maker.where, symlinks=True, dirs_exist_ok=True)
    changed = maker.random.choice(sorted(path for path in maker.where.glob("kept*")))
    if maker.random.random() < 0.7:
        changed.write_bytes(changed.read_bytes() + maker.text(60))
    if maker.random.random() < 0.5:
        maker.file()


def _make_repository(maker: Maker) -> None:
    def git(*words: str) -> None:
        run_command(["git", *words], cwd=maker.where, env={"PATH": "/usr/bin:/bin", "HOME": "/", **_GIT})

    git("init", "-q", "-b", "main")
    for number in range(maker.random.randint(3, 6)):
        for name in (f"kept{number}", "kept"):
            (maker.where / name).write_bytes(maker.text(maker.random.randint(10, 20_000)))
        maker.tree()
        git("add", "-A")
        git("commit", "-q", "-m", maker.line())
    git("tag", "first", "HEAD~2")
    git("branch", "side", "HEAD~1")


def _git(*words: str) -> Task:
    def task(maker: Maker) -> tuple[str, ...]:
        _repository(maker)
        return tuple(maker.operand(word) if word in ("NEW", "FILE", "ABSENT", "WORD") else word for word in words)

    return task


_GIT_TASKS = [
    *("status", "status -s", "log --oneline", "log -p -2", "log --stat", "show", "show first", "diff", "diff HEAD~1"),
    *("diff --stat first", "branch", "branch NEW", "checkout -q side", "checkout -q -b NEW", "tag NEW", "tag -l"),
    *("add -A", "add FILE", "add ABSENT", "commit -q -a -m WORD", "rev-parse HEAD", "rev-parse ABSENT", "ls-files"),
    *("ls-tree -r HEAD", "cat-file -p HEAD", "cat-file -t first", "blame kept", "reset -q --hard", "reset -q HEAD~1"),
    *("rm -q -f kept", "mv kept NEW", "config --list", "config user.x WORD", "describe --tags", "shortlog -s HEAD"),
    *("hash-object FILE", "merge-base main side", "stash", "count-objects", "fsck", "init -q NEW", "version"),
]

_SQL = {
    "create": lambda m: f"create table t(a integer, b text);insert into t values({m.number()},'{m.word()}');",
    "many": lambda m: _rows(m) + "select count(*),sum(a) from t;",
    "index": lambda m: _rows(m) + f"create index i on t(a);select * from t where a={m.number()};",
    "update": lambda m: _rows(m) + f"update t set a=a+1 where a>{m.number()};select max(a) from t;",
    "delete": lambda m: _rows(m) + f"delete from t where a<{m.number() * 20};vacuum;",
    "join": lambda m: (
        _rows(m) + "select x.a,count(*) from t x join t y on x.a=y.a group by x.a order by 2 desc limit 5;"
    ),
    "rollback": lambda m: _rows(m) + "begin;delete from t;rollback;select count(*) from t;",
    "dump": lambda m: _rows(m) + ".dump\n",
    "schema": lambda m: _rows(m) + ".schema\n.tables\n",
    "import": lambda m: f"create table c(a);\n.import {m.sums()} c\nselect count(*) from c;",
    "backup": lambda m: _rows(m) + f"\n.backup {m.name()}\n",
    "wal": lambda m: "pragma journal_mode=wal;" + _rows(m) + "select count(*) from t;",
    "wrong": lambda m: f"select {m.word()} from nowhere;",
    "read": lambda m: _rows(m) + f"\n.output {m.name()}\nselect * from t;\n",
    "blob": lambda m: f"create table b(x);insert into b values(randomblob({m.size()}));select length(x) from b;",
}


def _rows(maker: Maker) -> str:
    rows = ",".join(f"({maker.random.randrange(200)},'{maker.word()}')" for _ in range(maker.random.randint(1, 400)))
    return f"create table t(a integer,b text);insert into t values{rows};"


def _sql(name: str) -> Task:
    def task(maker: Maker) -> tuple[str, ...]:
        where = maker.random.choice((":memory:", "data.db", "data.db"))
        return (*maker.random.choice(((), ("-csv",), ("-header",), ("-batch",))), where, _SQL[name](maker) + "\n")

    return task


_PYTHON = {
    "json": "import json,sys;d=json.dumps([open(f).read() for f in sys.argv[1:]]);print(len(d),len(json.loads(d)))",
    "re": "import re,sys;print(len(re.findall(r'\\w+',open(sys.argv[1]).read())))",
    "lines": "import sys\nfor l in sys.stdin: print(l.strip()[::-1])",
    "list": "import os;print(sorted(os.listdir('.')))",
    "walk": "import os;print(sum(len(f) for _,_,f in os.walk('.')))",
    "hash": "import hashlib,sys;print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())",
    "zlib": "import zlib,sys;b=open(sys.argv[1],'rb').read();print(len(zlib.compress(b)))",
    "write": "import sys;open('out','w').write(open(sys.argv[1]).read().upper())",
    "append": "import sys;open(sys.argv[1],'a').write('more\\n')",
    "csv": "import csv,sys;print(sum(len(r) for r in csv.reader(open(sys.argv[1]))))",
    "wrong": "import sys;open('nosuch')",
    "syntax": "x = = 1",
    "exit": "import sys;sys.exit(3)",
    "numbers": "print(sum(i*i for i in range(200000)))",
    "memory": "x=[bytes(1000) for i in range(5000)];print(len(x))",
    "temporary": "import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x'*9999);f.seek(0);f.read()",
    "rename": "import os,sys;os.rename(sys.argv[1],'new');print(os.stat('new').st_size)",
    "date": "import datetime;print(datetime.date(2024,2,29).isoformat())",
    "child": "import subprocess;print(subprocess.run(['/bin/echo','x'],capture_output=True).stdout)",
    "gzip": "import gzip,sys\nwith gzip.open('out.gz','wb') as f: f.write(open(sys.argv[1],'rb').read())",
}


def _python(name: str) -> Task:
    def task(maker: Maker) -> tuple[str, ...]:
        options = maker.random.choice(((), ("-I",), ("-S",), ("-B",)))
        if maker.random.random() < 0.5:
            return (*options, "-c", _PYTHON[name], maker.file())
        return (*options, maker.put(_PYTHON[name].encode() + b"\n"), maker.file())

    return task


SUITES = (
    _suite("git", ("git",), {line: _git(*line.split()) for line in _GIT_TASKS}, _GIT, feeds=False),
    _suite("sqlite3", ("sqlite3",), {name: _sql(name) for name in _SQL}, {}, feeds=True),
    _suite("python3", ("/usr/bin/python3",), {name: _python(name) for name in _PYTHON}, {}, feeds=False),
)


def unavailable() -> str | None:
    """What is not installed of the programs, or None."""
    missing = [name for name in ("git", "sqlite3", "busybox", "/usr/bin/python3") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None
