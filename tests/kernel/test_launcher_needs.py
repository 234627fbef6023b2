"""What scmm-enforce calls until the program runs, seen by strace, and the table of it that the shim goes by."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import need

from rig.process import missing_programs
from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer import admits, launcher
from scmm_oci.policy import document

RUN = ["execute", "read_file"]
READ = ["read_file", "read_dir"]
ACTING = """
import ctypes, os
libc = ctypes.CDLL(None)
for _ in range(3):
    libc.syscall(156, 0)
try:
    os.mkdir("/proc/nothing")
except OSError:
    pass
if os.fork() == 0:
    os._exit(0)
os.wait()
"""


@dataclass(frozen=True)
class Case:
    """A policy, how the launcher is called, and what its parts are."""

    policy: dict[str, Any]
    parts: frozenset[str]
    mode: str = "standard"
    command: Sequence[str] = ("true",)
    options: Sequence[str] = ()
    nobody: bool = False
    code: int = 0
    asked: bool = False


def rules(*given: dict[str, Any]) -> dict[str, Any]:
    everything = {"path": "/**", "access": [*READ, "execute"]}
    return {"filesystem": {"rules": [everything, *given]}}


OPEN = {"default_action": "allow", "bad_arch_action": "allow"}


def base(**more: Any) -> dict[str, Any]:
    return {"version": "1.0", "settings": OPEN, "syscalls": [], **more}


REFUSE = {"names": ["uselib", "_sysctl"], "action": "deny"}
CALLS = {"syscalls": [REFUSE]}
ASKED = {"syscalls": [{**REFUSE, "action": "notify"}]}
NO_MOUNTS = {"syscalls": [{"names": ["mount", "umount2", "pivot_root", "move_mount"], "action": "deny"}]}
FILTER, RULESET, PATHS = admits.FILTER, admits.RULESET, admits.PATHS
OF_FILES = frozenset({RULESET, PATHS})


def furnish(place: Path) -> None:
    """Directories, files and links for rules to be about, and the launcher."""
    for name in ("logs", "data", "shared"):
        (place / name).mkdir(parents=True)
    for name in ("one.log", "two.log", "three.txt"):
        (place / "logs" / name).touch()
    (place / "link").symlink_to(place / "data")
    (place / "shared").chmod(0o1777)
    shutil.copy(launcher.find(os.uname().machine), place / "scmm-enforce")


def cases(there: Path) -> dict[str, Case]:
    """Policies of every kind, by name."""
    at = str(there)
    made = {"on_missing": "precreate"}
    of_files = rules(
        {"path": f"{at}/logs/three.txt", "access": ["read_file"]},
        {"path": f"{at}/data/**", "access": READ},
        {"path": f"{at}/link/x", "access": ["read_file"]},
        {"path": f"{at}/nothing", "access": ["read_file"]},
        {"path": f"{at}/data/new", "access": ["read_file"], "on_missing": "parentdir"},
        {"path": "/proc/self/status", "access": ["read_file"]},
        {"path": "${HOME}/x", "access": ["read_file"]},
    )
    globs = rules(
        {"path": f"{at}/logs/*.log", "access": ["read_file"]},
        {"path": f"{at}/*/**", "access": READ},
        {"path": f"{at}/**", "access": READ, "except": [f"{at}/logs"]},
    )
    precreate = rules(
        {"path": f"{at}/data/made", "access": ["read_file"], **made},
        {"path": f"{at}/data/dir/**", "access": READ, **made},
        {"path": f"{at}/shared/dir/**", "access": READ, **made},
    )
    ports = {"network": {"inbound": [{"protocol": "tcp", "ports": [8080, "9000-9010"]}], "outbound": []}}
    scopes = {"scopes": ["abstract_unix_socket", "signal"]}
    who = {**OPEN, "run_as": {"uid": 65534, "gid": 65534}}
    capabilities = {"capabilities": ["CHOWN", "NET_BIND_SERVICE"]}
    everything = base(**CALLS, **precreate, **ports, **capabilities) | {"settings": who}
    identity = frozenset({admits.IDENTITY})
    all_parts = OF_FILES | identity | {FILTER, admits.PORTS, admits.PRECREATE}
    return {
        "calls": Case(base(**CALLS), frozenset({FILTER})),
        "calls, guarded": Case(base(**NO_MOUNTS), frozenset({FILTER}), options=("--guard",)),
        "calls that may mount, guarded": Case(base(**CALLS), frozenset({FILTER}), options=("--guard",)),
        "calls, strict": Case(base(**CALLS), frozenset({FILTER}), mode="strict"),
        "files": Case(base(**of_files), OF_FILES),
        "patterns": Case(base(**globs), OF_FILES),
        "precreate": Case(base(**precreate), OF_FILES | {admits.PRECREATE}),
        "ports": Case(base(**ports), frozenset({RULESET, admits.PORTS})),
        "scopes": Case(base(**scopes), frozenset({RULESET})),
        "another user": Case(base(settings=who), identity),
        "a user without group": Case(base(settings={**OPEN, "run_as": {"uid": 65534}}), identity),
        "capabilities": Case(base(**capabilities), identity),
        "everything": Case(everything, all_parts),
        "another user, strict": Case(base(settings=who), identity, mode="strict"),
        "everything, seccomp": Case(everything, all_parts, mode="seccomp"),
        "everything, permissive": Case(everything, all_parts, mode="permissive"),
        "permissive": Case(
            base(syscalls=[{"names": ["_sysctl", "mkdir", "openat2"], "action": "deny"}]),
            frozenset({FILTER}),
            mode="permissive",
            command=(sys.executable, "-c", ACTING),
        ),
        "permissive, with a signal": Case(
            base(**CALLS),
            frozenset({FILTER}),
            mode="permissive",
            command=("sh", "-c", "trap 'exit 0' TERM; sh -c 'kill -TERM $0' $PPID; while :; do :; done"),
        ),
        "permissive, who is not root": Case(base(**CALLS), frozenset({FILTER}), mode="permissive", nobody=True),
        "no program": Case(base(**CALLS), frozenset({FILTER}), command=("nosuch",), code=127),
        "preserved": Case(base(**CALLS), frozenset({FILTER}), options=("--preserve-fds", "3")),
        "asked": Case(base(**ASKED), frozenset({FILTER}), asked=True),
        "asked, seccomp": Case(base(**ASKED), frozenset({FILTER}), mode="seccomp", asked=True),
        "asked, not executed": Case(
            base(**ASKED), frozenset({FILTER}), command=(f"{at}/broken",), code=127, asked=True
        ),
        "asked about all that is refused": Case(
            base(**CALLS, **of_files), OF_FILES | {FILTER}, mode="ask", options=("--guard",), asked=True
        ),
        "asks, and nobody listens": Case(base(**ASKED), frozenset({FILTER})),
        "not root": Case(base(**CALLS, **of_files), OF_FILES | {FILTER}, nobody=True),
    }


NAMES = list(cases(Path("/nothing")))
CALL = re.compile(r"(\d+) +(\w+)\((.*)")
#: One that was interrupted by others of strace's lines; or another thread's, which takes this one's number with it.
BECOME = re.compile(r"(\d+) +(?:<\.\.\. execve resumed>.* = 0$|\+\+\+ superseded by execve)")
#: What no trace here has, as it takes an older kernel, a program ended by a signal or a closed /proc/PID/mem.
UNSEEN = {"prlimit64", "process_vm_readv"}


@pytest.fixture(scope="module", autouse=True)
def _needed() -> None:
    need("KERNEL", missing_programs("strace") or (None if os.geteuid() == 0 else "root is needed"))


def traced(case: Case, there: Path) -> tuple[bytes, list[tuple[str, str]]]:
    """The compiled policy; the launcher's calls with their words, in permissive mode also while the program runs."""
    file, _ = policy_file(document.parse(json.dumps(case.policy).encode()))
    policy = polfile.write(file)
    (there / "policy").write_bytes(policy)
    (there / "policy").chmod(0o644)
    trace = there / "trace"
    started: list[str | Path] = [there / "scmm-enforce", "-p", there / "policy", "-m", case.mode, *case.options]
    command: list[str | Path] = [
        "strace",
        "-f",
        "-X",
        "raw",
        "-o",
        trace,
        *(["-u", "nobody"] if case.nobody else []),
        *started,
        "--",
    ]
    with monitor() if case.asked else contextlib.nullcontext() as descriptor:
        if descriptor is not None:
            command[-1:] = ["--listener-fd", str(descriptor), "--"]
        done = subprocess.run(
            [*command, *case.command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            pass_fds=() if descriptor is None else (descriptor,),
        )
    assert done.returncode == case.code, done.stderr
    return policy, list(own_calls(trace.read_text().splitlines()))


@contextlib.contextmanager
def monitor() -> Iterator[int]:
    """A descriptor that leads to who takes one listener, and keeps it until the end."""
    ours, theirs = socket.socketpair()
    taken: list[int] = []
    taking = threading.Thread(target=lambda: taken.extend(socket.recv_fds(ours, 1 << 18, 1)[1]))
    taking.start()
    with ours:
        with theirs:
            yield theirs.fileno()
        taking.join()
    for each in taken:
        os.close(each)


def own_calls(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Calls of the launcher and of the child that it has in permissive mode, until they are the program."""
    own = list(dict.fromkeys(match[1] for match in map(CALL.match, lines) if match))[:2]
    program: set[str] = set()
    for line in lines[1:]:  # the first is strace's, and makes the launcher
        if become := BECOME.match(line):
            program.add(become[1])
        match = CALL.match(line)
        if match is None or match[1] not in own or match[1] in program:
            continue
        pid, name, words = match.groups()
        yield name, words
        if name == "execve" and " = -1 " not in words and not words.endswith("<unfinished ...>"):
            program.add(pid)


def fits(name: str, words: str, need: admits.Need) -> bool:
    """Whether a need stands for the call."""
    if name != need.name or need.argument is None:
        return name == need.name
    flags = re.search(r"flags=([^,)]*)", words)
    word = flags[1] if flags and name == "clone" else re.split(r", |\)", words)[need.argument[0]]
    return value(word) == need.argument[1]


def value(word: str) -> int:
    """A number as strace -X raw writes it: 0x10|17, or _IOC(0x3, 0x21, 0, 0x50) taken as text before."""
    parts = [re.match(r"0x[0-9a-f]+|\d+", one) for one in word.split("|")]
    return sum(int(one[0], 0) for one in parts if one)


def missing(calls: Sequence[tuple[str, str]], needs: Sequence[admits.Need]) -> list[tuple[str, str]]:
    return [(name, words) for name, words in calls if not any(fits(name, words, one) for one in needs)]


@pytest.fixture(scope="module")
def traces() -> Iterator[dict[str, tuple[Case, bytes, list[tuple[str, str]]]]]:
    """Every case with its compiled policy and what was called, each in a directory that every user can look into."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="scmm-needs-") as base:
        for number, name in enumerate(NAMES):
            os.chmod(base, 0o755)
            there = Path(base, str(number))
            furnish(there)
            case = cases(there)[name]
            found[name] = (case, *traced(case, there))
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_every_call_is_in_the_table(name: str, traces: dict[str, tuple[Case, bytes, list[tuple[str, str]]]]) -> None:
    case, policy, calls = traces[name]
    assert admits.parts(policy) == case.parts
    assert admits.asks(policy, case.mode, os.uname().machine) is (case.asked or name == "asks, and nobody listens")
    needs = admits.needs(case.mode, case.parts | ({admits.LISTENER} if case.asked else set()))
    assert missing(calls, needs) == []
    # The control: without the one that stands for it, a call is missed.
    used = [one for one in needs if any(fits(*call, one) for call in calls)]
    assert len(used) > 8
    for one in used:
        left = [other for other in needs if other is not one]
        assert {found for found, _ in missing(calls, left)} == {one.name}


def test_nothing_is_in_the_table_that_is_not_called(
    traces: dict[str, tuple[Case, bytes, list[tuple[str, str]]]],
) -> None:
    calls = [call for _, _, found in traces.values() for call in found]
    assert {str(one) for one in admits.NEEDS if not any(fits(*call, one) for call in calls)} == UNSEEN
