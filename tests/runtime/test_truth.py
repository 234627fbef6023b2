"""What the recorder says is what strace(1) saw of the same execution: calls, values, files, programs, addresses, order.

Both watch at once, so nothing may differ but what truth_differences names; and each of those has to be needed.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recordings import Ground
from support import ROOT, Hooks, need
from truth import Seen, watch_command, watch_server
from truth_differences import DIFFERENCES, compare
from truth_trace import trace
from truth_views import Outcome, View, view

from rig import namespace
from rig.process import missing_programs
from scmm_oci.capture.model import LossKind

PYTHON = """
import hashlib, json, os, shutil, socket, sqlite3, subprocess, tempfile, threading, zipfile
with open("numbers.json", "w") as file:
    json.dump(list(range(1000)), file)
assert json.load(open("numbers.json"))[-1] == 999
try:
    open("missing")
except FileNotFoundError:
    pass
threads = [threading.Thread(target=lambda n=n: open(f"of-{n}", "w").close()) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
client.sendall(b"x")
assert peer.recv(1) == b"x"
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
socket.getaddrinfo("localhost", 80)
assert subprocess.run(["/bin/echo", "x"], capture_output=True).stdout == b"x\\n"
database = sqlite3.connect("database")
database.execute("create table t (a)")
database.execute("insert into t values (1)")
database.commit()
database.close()
with zipfile.ZipFile("archive.zip", "w") as archive:
    archive.write("numbers.json")
shutil.make_archive("archive", "gztar", ".", "numbers.json")
os.replace("archive.zip", "moved.zip")
with tempfile.TemporaryDirectory() as place:
    open(place + "/x", "w").close()
"""
SHELL = """
trap 'echo caught' USR1
echo more >>there
mkdir deep; cd deep
for i in 1 2 3; do echo $i | sed s/1/2/ >file-$i & done
wait
kill -USR1 $$
cat <<END | sort | uniq -c >sorted
b
a
b
END
(cd ..; ls -l deep; rm -f gone) | while read line; do test -n "$line"; done
[ -e file-1 ] && cp file-1 copy && mv copy moved && ln -s moved link && chmod 600 link && cat link
find .. -type f | xargs md5sum >sums
printf '#!/bin/sh\\nexit 3\\n' >script; chmod +x script; ./script || sh -c 'exec ./script' || true
"""
SQLITE = "create table t (a, b); insert into t values (1, 2), (3, 4); create index i on t (b); select * from t; vacuum;"
GIT = """
export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
git init -q work; cd work
echo 1 >one; git add one; git commit -q -m one
git checkout -q -b two; echo 2 >two; git add two; git commit -q -m two
git log --oneline >log; git status -s; git gc -q
"""
TAR = """
mkdir -p from/inner to; echo x >from/file; ln -s file from/link; ln from/file from/hard; mkfifo from/fifo
tar -czf archive.tgz from; tar -xzpf archive.tgz -C to; tar -tf archive.tgz >list; tar -xf missing.tar; true
"""


def _shell(script: str) -> tuple[str, ...]:
    return ("gate", "/bin/sh", "-c", script)


COMMANDS: dict[str, tuple[str, ...]] = {
    "python": ("gate", "/usr/bin/python3", "-I", "-c", PYTHON),
    "shell": _shell(SHELL),
    "sqlite3": ("gate", "/usr/bin/sqlite3", "database", SQLITE),
    "git": _shell(GIT),
    "tar": _shell(TAR),
    "paths": ("gate", "PATHS"),
    "killed": ("gate", "PATHS", "killed"),
    # A filter that refuses a call, and is loaded as a runtime does it.
    "refused": ("runtime", "prctl", "71", "PAYLOAD", "denied"),
}
SERVERS = ("nginx", "redis")
# What strace or its reader says it cannot show: names of 4096 bytes, and what threads were about to do when killed.
_UNKNOWN_TO_STRACE = {"paths": {LossKind.FILES}, "killed": {LossKind.ARGUMENTS}, "redis": {LossKind.ARGUMENTS}}


@pytest.fixture(scope="module")
def watched(
    inside: namespace.Entered, shared_hooks: Hooks, payload: Path, tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[[str], Seen]:  # fmt: skip
    """Each execution by name, watched when it is first asked for."""
    need("KERNEL", missing_programs("strace", "sqlite3", "git", "tar", "gcc"))
    known: dict[str, Seen] = {}
    paths = tmp_path_factory.mktemp("truth") / "paths"
    source = ROOT / "tests/payload/paths.c"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wno-unused-result", "-Wno-nonnull", "-pthread", "-o", paths, source], check=True
    )

    def watch(name: str) -> Seen:
        if name not in known and name in SERVERS:
            podman: Ground = request.getfixturevalue("podman")
            known[name] = watch_server(shared_hooks, podman.engine, podman.services, name)  # type: ignore[arg-type]
        elif name not in known:
            places = {"PATHS": str(paths), "PAYLOAD": str(payload)}
            words = [places.get(word, word) for word in COMMANDS[name]]
            directory = tmp_path_factory.mktemp(f"truth-{name}")
            (directory / "there").write_text("before\n")
            known[name] = watch_command(shared_hooks, payload, words, directory, name=f"truth-{name}")
        return known[name]

    return watch


@pytest.mark.parametrize("name", [*COMMANDS, *SERVERS])
def test_recorder_and_strace_have_seen_the_same(watched: Callable[[str], Seen], name: str) -> None:
    seen = watched(name)
    assert seen.ours.losses == ()
    assert {loss.kind for loss in trace(seen).losses} <= _UNKNOWN_TO_STRACE.get(name, set())
    left = compare(seen)
    assert not left, "\n".join(left[:50])
    # Neither is empty.
    mine = view(seen.ours)
    assert len(mine.calls) >= 2 and mine.programs and mine.order


@pytest.mark.parametrize("difference", [each.name for each in DIFFERENCES])
def test_every_named_difference_is_needed(watched: Callable[[str], Seen], difference: str) -> None:
    assert any(compare(watched(name), left_out=difference) for name in (*COMMANDS, *SERVERS))


def lessened(whole: View) -> Iterator[tuple[str, View]]:
    """The view with one thing taken out of it: each fact; of each, an error, a program and one time; each value."""
    for section, facts in whole.sections():
        for key, value in facts.items():

            def other(new: object, section: str = section, key: object = key) -> View:
                changed = copy.copy(whole)
                table = dict(getattr(whole, section))
                if new is None:
                    del table[key]
                else:
                    table[key] = new
                setattr(changed, section, table)
                return changed

            yield f"{section}: {key}", other(None) if section != "order" else _without(whole, key)
            if isinstance(value, frozenset):
                for each in value if len(value) > 1 else ():
                    yield f"{section}: {key}: {each}", other(value - {each})
            elif isinstance(value, Outcome):
                for part in ("errnos", "programs"):
                    for each in getattr(value, part):
                        fields = vars(value) | {part: getattr(value, part) - {each}}
                        yield f"{section}: {key}: {part}: {each}", other(Outcome(**fields))


def _without(whole: View, edge: object) -> View:
    changed = copy.copy(whole)
    changed.order = {each: None for each in whole.order if each != edge}
    return changed


def test_each_fact_taken_out_is_noticed(watched: Callable[[str], Seen]) -> None:
    seen = watched("python")
    count = 0
    for what, less in lessened(view(seen.ours)):
        assert compare(seen, ours=less), f"nobody misses {what}"
        count += 1
    assert count > 500
