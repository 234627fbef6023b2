"""Compiled rulesets under this kernel's Landlock: what a policy allows works, and what it does not is refused.

A child takes the raw bits as the launcher will: it masks them by the kernel's ABI and by the type of each target, adds
the rules and restricts itself, by plain system calls.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import landlockpy
import pytest
from enforce import accepted
from support import need

from scmm_oci.compiled.landlock import ruleset
from scmm_oci.compiled.polfile.model import Component, ComponentKind, PathKind, Ruleset
from scmm_oci.policy.model import LandlockScope, Network, NetworkRule, PathRule, Policy, PortRange, Protocol
from scmm_oci.tables import landlock

CHILD = """
import ctypes, json, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(ctypes.c_long(number), *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"call {number}")
    return result
given = json.load(sys.stdin)
where = given["where"]
os.chdir("/")
if given["handled"]:
    made = call(444, struct.pack("QQQ", *given["handled"]), ctypes.c_size_t(24), 0)
    for access, path in given["paths"]:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        call(445, made, 1, struct.pack("=Qi", access, at), 0)
    for access, first, last in given["ports"]:
        for port in range(first, last + 1):
            call(445, made, 2, struct.pack("QQ", access, port), 0)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    call(446, made, 0)
def read(path):
    with open(f"{where}/{path}") as file:
        file.read()
def write(path):
    os.close(os.open(f"{where}/{path}", os.O_WRONLY))
def truncate(path):
    os.close(os.open(f"{where}/{path}", os.O_WRONLY | os.O_TRUNC))
def create(path):
    os.close(os.open(f"{where}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
def make(path):
    os.mkdir(f"{where}/{path}")
def remove(path):
    os.unlink(f"{where}/{path}")
def remove_dir(path):
    os.rmdir(f"{where}/{path}")
def names(path):
    os.listdir(f"{where}/{path}")
def bind(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
def connect(port):
    with socket.socket() as one:
        one.connect(("127.0.0.1", port))
def abstract(name):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\\0" + name)
def kill(pid):
    os.kill(pid, signal.SIGURG)
result = []
for word, what in given["uses"]:
    try:
        globals()[word](what)
        result.append(0)
    except OSError as error:
        result.append(error.errno)
print(json.dumps(result))
"""
ACCESS = 13
PERMISSION = 1


@pytest.fixture(scope="module", autouse=True)
def abi() -> int:
    found = landlockpy.abi_version()
    need("KERNEL", None if found >= 6 else f"Landlock's ABI is {found} here, and the tests need 6")
    return found


def uses(made: Ruleset | None, abi: int, where: Path, *wanted: tuple[str, Any]) -> list[int]:
    """What became of each use under the ruleset: 0, or its errno."""
    given: dict[str, Any] = {"where": str(where), "handled": [], "paths": [], "ports": [], "uses": wanted}
    if made is not None:
        fs = made.handled_fs & landlock.fs_of_abi(abi)
        net = made.handled_net & landlock.net_of_abi(abi)
        given["handled"] = [fs, net, made.scoped & landlock.scopes_of_abi(abi)]
        for rule in made.paths:
            for path in there(rule.components, rule.kind):
                types = landlock.ALL_FS if os.path.isdir(path) else landlock.FILE_RIGHTS
                if rule.access & fs & types:
                    given["paths"].append([rule.access & fs & types, os.fsdecode(path)])
        given["ports"] = [[one.access & net, one.first, one.last] for one in made.ports if one.access & net]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CHILD],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: list[int] = json.loads(done.stdout)
    assert len(result) == len(wanted)
    return result


def there(components: tuple[Component, ...], kind: PathKind) -> list[bytes]:
    """The paths that a rule stands for now (docs/formats.md): of FILES those that are no directories."""
    found = [b"/"]
    for one in components:
        assert one.kind in (ComponentKind.NAME, ComponentKind.GLOB)
        if one.kind is ComponentKind.NAME:
            found = [os.path.join(base, one.name) for base in found]
            continue
        pattern = b"".join(
            b".*" if token is None else b"[" + re.escape(bytes(sorted(token))) + b"]" for token in one.glob
        )
        found = [
            os.path.join(base, name)
            for base in found
            for name in sorted(os.listdir(base))
            if re.fullmatch(pattern, name, re.DOTALL)
        ]
    return [path for path in found if os.path.lexists(path) and not (kind is PathKind.FILES and os.path.isdir(path))]


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    for name in ("logs/dir.log", "tree/deep", "trash/old", "list"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "exact.txt",
        "exact.txt.bak",
        "other.txt",
        "logs/a.log",
        "logs/b.txt",
        "logs/dir.log/inner",
        "tree/deep/file",
        "trash/file",
    ):
        (tmp_path / name).write_text("content")
    return tmp_path


def test_files(ground: Path, abi: int) -> None:
    made, findings = ruleset(
        Policy(
            filesystem=(
                PathRule(f"{ground}/exact.txt", ("read_file", "write_file")),
                PathRule(f"{ground}/logs/*.log", ("read_file",)),
                PathRule(f"{ground}/tree/**", ("read_file", "write_file", "make_reg", "read_dir")),
                PathRule(f"{ground}/trash/**", ("remove",)),
                PathRule(f"{ground}/list", ("read_dir",)),
            )
        )
    )
    assert findings == []
    table: dict[tuple[str, str], int] = {
        ("read", "exact.txt"): 0,
        ("write", "exact.txt"): 0,
        ("truncate", "exact.txt"): ACCESS,
        ("read", "exact.txt.bak"): ACCESS,
        ("read", "other.txt"): ACCESS,
        ("read", "logs/a.log"): 0,
        ("write", "logs/a.log"): ACCESS,
        ("read", "logs/b.txt"): ACCESS,
        # A directory whose name fits is no file.
        ("read", "logs/dir.log/inner"): ACCESS,
        ("names", "logs"): ACCESS,
        ("names", "list"): 0,
        ("names", "tree/deep"): 0,
        ("read", "tree/deep/file"): 0,
        ("create", "tree/deep/new"): 0,
        ("make", "tree/made"): ACCESS,
        ("remove", "tree/deep/file"): ACCESS,
        ("remove", "trash/file"): 0,
        ("remove_dir", "trash/old"): 0,
        ("create", "trash/new"): ACCESS,
        ("create", "new"): ACCESS,
    }
    assert dict(zip(table, uses(made, abi, ground, *table), strict=True)) == table
    # What was refused did not happen, and what was allowed did.
    assert (ground / "exact.txt").read_text() == "content"
    assert (ground / "tree/deep/file").exists()
    assert (ground / "tree/deep/new").exists()
    for name in ("tree/made", "trash/file", "trash/old", "trash/new", "new"):
        assert not (ground / name).exists(), name


def test_the_same_uses_without_rules_all_succeed(ground: Path, abi: int) -> None:
    wanted = [
        ("truncate", "exact.txt"),
        ("read", "other.txt"),
        ("write", "logs/a.log"),
        ("read", "logs/dir.log/inner"),
        ("names", "logs"),
        ("make", "tree/made"),
        ("remove", "tree/deep/file"),
        ("create", "trash/new"),
        ("create", "new"),
    ]
    assert uses(None, abi, ground, *wanted) == [0] * len(wanted)
    assert (ground / "exact.txt").read_text() == ""
    assert (ground / "new").exists()


def test_an_empty_list_of_files_is_no_file(ground: Path, abi: int) -> None:
    made, _ = ruleset(Policy(filesystem=()))
    assert uses(made, abi, ground, ("read", "exact.txt"), ("names", "list"), ("create", "new")) == [ACCESS] * 3
    assert not (ground / "new").exists()


def free_ports() -> list[int]:
    """Two that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return [one.getsockname()[1], other.getsockname()[1]]


def peers(*ports: PortRange) -> tuple[NetworkRule, ...]:
    return (NetworkRule(Protocol.TCP, (), ports),)


def test_ports(listeners: list[socket.socket], tmp_path: Path, abi: int) -> None:
    known, other = (one.getsockname()[1] for one in listeners)
    mine, not_mine = free_ports()
    made, findings = ruleset(
        Policy(
            network=Network(
                outbound=peers(PortRange(known, known)), inbound=peers(PortRange(mine, mine), PortRange(1, 2))
            )
        )
    )
    assert findings == []
    wanted = [("connect", known), ("connect", other), ("bind", mine), ("bind", not_mine), ("bind", 0), ("bind", 2)]
    assert uses(made, abi, tmp_path, *wanted) == [0, ACCESS, 0, ACCESS, ACCESS, 0]
    assert [accepted(one) for one in listeners] == [True, False]
    # Without rules, all of them succeed.
    assert uses(None, abi, tmp_path, *wanted) == [0] * 6
    assert [accepted(one) for one in listeners] == [True, True]


def test_port_0_and_open_directions(listeners: list[socket.socket], tmp_path: Path, abi: int) -> None:
    known = listeners[0].getsockname()[1]
    mine = free_ports()[0]
    wanted = [("connect", known), ("bind", mine), ("bind", 0)]
    chosen, _ = ruleset(Policy(network=Network(outbound=peers(), inbound=peers(PortRange(0, 0)))))
    assert uses(chosen, abi, tmp_path, *wanted) == [0, ACCESS, 0]
    opened, _ = ruleset(Policy(network=Network(inbound=peers())))
    assert uses(opened, abi, tmp_path, *wanted) == [ACCESS, 0, 0]
    closed, _ = ruleset(Policy(network=Network()))
    assert uses(closed, abi, tmp_path, *wanted) == [ACCESS, ACCESS, ACCESS]


def test_scopes(tmp_path: Path, abi: int) -> None:
    name = f"scmm-{os.getpid()}"
    wanted = [("abstract", name), ("kill", os.getpid())]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        for scopes, expected in (
            ((), [0, 0]),
            ((LandlockScope.SIGNAL,), [0, PERMISSION]),
            ((LandlockScope.ABSTRACT_UNIX_SOCKET,), [PERMISSION, 0]),
            ((LandlockScope.SIGNAL, LandlockScope.ABSTRACT_UNIX_SOCKET), [PERMISSION, PERMISSION]),
        ):
            made, _ = ruleset(Policy(scopes=scopes))
            assert uses(made, abi, tmp_path, *wanted) == expected, scopes
