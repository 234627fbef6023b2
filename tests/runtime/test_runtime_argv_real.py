"""scmm_oci.oci.runtime_argv beside the runtimes themselves: what they take for the id, the bundle and the command.

Nothing is started by the comparisons. Each container that runc could find has a state.json of one letter, which runc
quotes when it cannot read it; crun names the directory in which it looks. Bundles do not exist, and both name the
one that they went for. Measured with runc 1.1.5 and crun 1.8.1.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support import need

from rig import images, namespace
from rig.process import missing_programs, run
from rig.runc import Bundle, available
from scmm_oci.oci.runtime_argv import CommandLine, parse
from scmm_oci.oci.runtime_options import CRUN, RUNC

#: What may follow each verb: forms that are right beside many that are not.
FRAGMENTS = {
    RUNC: {
        "state": "A B -- - -h --help=false --help=0 --x",
        "kill": "A B 9 -9 KILL -- -a --all --all=false -all ---all -a=T --al -aa --all=x - -=",
        "delete": "A B -f --force -force=1 --force=false -- -ff -h=f",
        "start": "A B -- -h=false",
        "pause": "A -- B",
        "resume": "A -- -",
        "ps": "A B -f json --format table --format=json -format=json -- -ef aux",
        "update": "A B -r - --resources=- --memory -1 --memory=1 --cpu-share 2 -- -r=x --pids-limit 5",
        "events": "A B --stats -stats=false --interval 1s --interval=2s -- --interval",
        "exec": "A B -t -d --tty=false -e X=1 --env=Y -p f --process=f -process f ls -- -td -eZ --cwd / - -u 1 -c x",
        "create": "A b1 -b b2 --bundle b3 --bundle=b1 -bundle=b2 -b=b3 --no-pivot -- --no-pivot=false -no-new-keyring"
        " --preserve-fds 1 --pid-file x --bundle= --x -b",
        "run": "A b1 -b b2 --bundle b3 --bundle=b1 -d --detach=false --keep --no-subreaper -- -db --x=y -b",
    },
    CRUN: {
        "state": "A -- - --x -B",
        "kill": "A B 9 -9 -a --all --al -r -ar -- KILL",
        "delete": "A B --fo --regex -- -x",
        "start": "A B --",
        "pause": "A B -- -",
        "ps": "A B -f json -fjson --format=table --fo json -- -f=json",
        "update": "A B -r x -rx --memory=1 --memory 1 --memory-s 5 --cpu-share=2 -- --memo",
        "exec": "A B -t -d -td --tty=no -tno -e X=1 -eX --env=Y -p f -pf -dpf -dp --process=f --proc ls -- --cw=w -u 1",
        "create": "A b1 -b b2 -bb3 --bundle=b1 --bundle b2 --bun b3 -b=b1 --no-pivot --no-p -- --pid-file x --pi y -x",
        "run": "A b1 -b b2 -db b3 -dbb1 -d --detach --bundle=b2 --no-new-keyring --no-piv=1 --",
    },
}
BEFORE = {
    RUNC: "--debug|-debug=false|--debug=0|--log-format text|-log-format=json|--criu kill|--systemd-cgroup=0|--|"
    "--rootless=auto|-help=false|-v=0|--x|--debug false",
    CRUN: "--debug|--log-format=text|--log-f text|--cgroup-manager disabled|--cgroup-m=disabled|--|--systemd-cgroup"
    "|--x",
}


def drawn(grammar: str, verb: str, count: int) -> list[list[str]]:
    """Command lines of random fragments, the same ones each time."""
    choice = random.Random(f"{grammar} {verb}")
    made = []
    for _ in range(count):
        words = choice.choices(FRAGMENTS[grammar][verb].split(), k=choice.randint(1, 5))
        before = " ".join(choice.choices(BEFORE[grammar].split("|"), k=choice.choice((0, 0, 1, 2))))
        made.append([*before.split(), verb, *words])
    return made


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    for letter in "AB":
        container = tmp_path / "root" / letter
        container.mkdir(parents=True)
        (container / "state.json").write_text(letter)
    (tmp_path / "cwd").mkdir()
    return tmp_path


def ask(ground: Path, runtime: str, words: list[str]) -> str:
    """What the runtime says; both streams."""
    done = run(
        [runtime, "--root", str(ground / ("root" if runtime == RUNC else "none")), *words],
        check=False,
        cwd=ground / "cwd",
        timeout=60,
    )
    return done.stderr + done.stdout


def runc_took(said: str) -> tuple[str, str] | None:
    """("id" or "bundle", which); None if it does not say: it refused its words, or had nothing to delete."""
    if found := re.search(r"invalid character '(.)' looking for beginning", said):
        return "id", found[1]
    if re.search("container does not exist|invalid container ID format|container id cannot be empty", said):
        return "id", "another"
    if found := re.search(r"chdir (\S*): no such file", said):
        return "bundle", found[1]
    if "JSON specification file config.json not found" in said:
        return "bundle", ""
    return None


def crun_took(said: str) -> tuple[str, str] | None:
    if found := re.search(r"(?:error opening file `|cannot open directory ')\S*/none/(.*?)(?:/status`|')", said):
        return "id", found[1]
    if found := re.search(r"realpath `(.*)` failed", said):
        return "bundle", found[1]
    if re.search("error loading config.json|load `config.json`", said):
        return "bundle", ""
    return None


def we_took(line: CommandLine) -> dict[str, str]:
    container = line.id
    if line.dialect == RUNC and container is not None and container not in ("A", "B"):
        container = "another"
    return {"id": "" if container is None else container, "bundle": line.options.get("bundle") or ""}


TOOK: dict[str, Callable[[str], tuple[str, str] | None]] = {RUNC: runc_took, CRUN: crun_took}


@pytest.mark.parametrize(
    ("grammar", "verb"), [(grammar, verb) for grammar, verbs in FRAGMENTS.items() for verb in verbs]
)
def test_the_runtime_takes_its_words_for_the_same(grammar: str, verb: str, ground: Path) -> None:
    need("CRUN" if grammar == CRUN else "PODMAN", missing_programs(grammar))
    accepted, certain = 0, 0
    for words in drawn(grammar, verb, 50):
        said = ask(ground, grammar, words)
        took = TOOK[grammar](said)
        if took is None:
            continue
        line = parse(words, dialect=grammar)
        what, which = took
        assert we_took(line)[what] == which, (words, said, line.options)
        assert line.verb == verb, words
        accepted += 1
        certain += not line.ambiguous
    assert accepted >= 3, "hardly a line was taken"
    assert certain >= 2


@pytest.mark.parametrize(
    ("grammar", "words", "took"),
    [
        # runc: options after the id, and the word that a flag before it takes along.
        (RUNC, "kill A -a B", ("id", "B")),
        (RUNC, "create A -b b2", ("bundle", "b2")),
        (RUNC, "create --bundle -- A", ("bundle", "--")),
        (RUNC, "create --bundle --no-pivot A", ("bundle", "--no-pivot")),
        (RUNC, "create -b=b=1 A", ("bundle", "b=1")),
        (RUNC, "create -b b1 --bundle b2 A", None),
        (RUNC, "state -x --", ("id", "another")),
        (RUNC, "state -x", None),
        (RUNC, "exec -e A ls", ("id", "another")),
        (RUNC, "exec -td A ls", None),
        (RUNC, "-v=false state A", ("id", "A")),
        (RUNC, "-v state A", None),
        (RUNC, "--debug false state A", None),
        # crun: what is left of a word, what is cut short, and nothing after the id.
        (CRUN, "create -b=b1 Z", ("bundle", "=b1")),
        (CRUN, "create -bb1 Z", ("bundle", "b1")),
        (CRUN, "exec -tno Z ls", ("id", "Z")),
        (CRUN, "exec -t no Z ls", ("id", "no")),
        (CRUN, "exec -d -- -t ls", ("id", "-t")),
        (CRUN, "exec --pro f Z", None),
        (CRUN, "delete Z -f", None),
    ],
)
def test_single_forms(grammar: str, words: str, took: tuple[str, str] | None, ground: Path) -> None:
    need("CRUN" if grammar == CRUN else "PODMAN", missing_programs(grammar))
    said = ask(ground, grammar, words.split())
    if took is None:
        assert re.search("Incorrect Usage|runc version|No help topic|ambiguous|maximum of 1 arg", said), said
        assert TOOK[grammar](said) is None
        return
    assert TOOK[grammar](said) == took
    assert we_took(parse(words.split(), dialect=grammar))[took[0]] == took[1]


@pytest.mark.parametrize("rootless", ["--rootless auto", "--rootless=auto"])
def test_crun_may_take_rootless_for_its_root(rootless: str, ground: Path) -> None:
    need("CRUN", missing_programs(CRUN))
    said = ask(ground, CRUN, [*rootless.split(), "state", "Z"])
    assert re.search("file `(auto|/.*/none)/Z/status`", said), said
    words = ["--root", "r", *rootless.split(), "state", "Z"]
    assert "differ on --rootless" in parse(words, dialect=CRUN).ambiguous


# Rewritten words do what the ones before did, but for what was rewritten.


@pytest.fixture
def inside() -> namespace.Entered:
    return namespace.enter()


@pytest.mark.parametrize("grammar", [RUNC, CRUN])
def test_rewritten_words_run(inside: namespace.Entered, grammar: str, tmp_path: Path) -> None:
    need("CRUN" if grammar == CRUN else "PODMAN", available(grammar))
    with Bundle(images.busybox(), runtime=grammar, args=["sleep", "600"]) as bundle:
        # Made from a bundle that is not there, but for the rewriting.
        words = ["create", "--pid-file", str(bundle.base / "pid"), "--bundle", "/none", bundle.id]
        refused = bundle(*words, check=False)
        assert refused.returncode == 1
        assert "/none" in refused.stderr
        line = parse(words, dialect=grammar)
        bundle(*line.with_option("bundle", str(bundle.directory)), output=bundle.log)
        assert bundle.state()["bundle"] == str(bundle.directory)
        bundle.start()

        # exec in its argv form: another command, and a flag, with the environment and directory of before.
        words = ["exec", "-e", "WORD=kept", "--cwd", "/tmp", bundle.id, "ls", "--", "-x"]
        line = parse(words, dialect=grammar)
        assert line.command == ("ls", "--", "-x")
        script = "echo $WORD; pwd; grep NoNewPrivs /proc/self/status"
        plain = bundle(*line.with_command(["/bin/sh", "-c", script])).stdout.split()
        words = parse(line.with_option("no-new-privs", None), dialect=grammar).with_command(["/bin/sh", "-c", script])
        held = bundle(*words).stdout.split()
        assert held == ["kept", "/tmp", "NoNewPrivs:", "1"]
        assert plain[:2] == held[:2]

        # And from a file.
        process = bundle.config["process"] | {"args": ["echo", "first"]}
        (tmp_path / "first.json").write_text(json.dumps(process))
        (tmp_path / "second.json").write_text(json.dumps(process | {"args": ["echo", "second"]}))
        for form in (["--process", str(tmp_path / "first.json")], [f"--process={tmp_path / 'first.json'}"]):
            words = ["exec", *form, bundle.id]
            assert bundle(*words).stdout == "first\n"
            line = parse(words, dialect=grammar)
            assert line.options == {"process": str(tmp_path / "first.json")}
            assert bundle(*line.with_option("process", str(tmp_path / "second.json"))).stdout == "second\n"
