"""One policy, applied by the launcher, and by landlockpy and libseccomp: the same becomes of each of many actions."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import landlockpy
import pytest
from support import ROOT, need

from rig import launcher
from scmm_oci.cli.main import main
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

NUMBERS = numbers(Arch.X86_64)
DEFAULT = "ENOTUNIQ"
SCOPES = ("abstract_unix_socket", "signal")
BIND, CONNECT = (4001, 4003, 4010, 4011, 4012), (4001, 4005, 5000)
ABSTRACT = "scmm-oracle"

#: Directories that hold the same, and what may be done in and beneath each. `*.log`: only to the files that fit.
READ = ("read_file", "read_dir")
MAKE = ("make_dir", "make_reg", "make_sym", "make_fifo", "make_sock", "make_char", "make_block")
DIRECTORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "nothing": {},
    "read": {"/**": READ},
    "files": {"/**": ("read_file",)},
    "list": {"/**": ("read_dir",)},
    "write": {"/**": ("write_file",)},
    "append": {"/**": ("read_file", "write_file")},
    "cut": {"/**": ("write_file", "truncate")},
    "execute": {"/**": ("execute",)},
    "scripts": {"/**": ("execute", "read_file")},
    "devices": {"/**": ("read_file", "write_file", "ioctl_dev")},
    "make": {"/**": MAKE},
    "regular": {"/**": ("make_reg", "write_file")},
    "remove": {"/**": ("remove",)},
    "unlink": {"/**": ("remove_file",)},
    "refer": {"/**": (*MAKE, "remove", "refer")},
    "move": {"/**": ("refer", "make_reg", "remove_file", "read_file")},
    "all": {"/**": (*READ, *MAKE, "write_file", "execute", "remove", "refer", "truncate", "ioctl_dev")},
    "logs": {"/*.log": ("read_file", "write_file")},
    "names": {"/file": ("read_file",), "/dir": READ, "/a.log": ("write_file", "truncate"), "/prog": ("execute",)},
}
IN_EACH = (
    *("stat {d}/file", "access {d}/file", "readlink {d}/link", "chdir {d}", "chmod {d}/prog", "read {d}/link"),
    *("open {d}/file 0", "open {d}/file 1", "open {d}/file 2", "open {d}/file 01001", "open {d}/file 02001"),
    *("open {d}/new 0101", "open {d}/new2 0301", "open {d}/file 0101", "open {d} 0200000", "open {d}/file 010000000"),
    *("read {d}/file", "write {d}/file", "truncate {d}/file", "ftruncate {d}/file", "names {d}", "names {d}/dir"),
    *("read {d}/dir/inner", "write {d}/dir/inner", "read {d}/a.log", "write {d}/a.log", "truncate {d}/a.log"),
    *(
        "read {d}/b.txt",
        "read {d}/deep.log/inner",
        "map {d}/file",
        "exec {d}/prog",
        "exec {d}/script",
        "ioctl {d}/device",
        "read {d}/device",
    ),
    *("mkdir {d}/made", "mkdir {d}/dir/made", "symlink {d}/symlink", "fifo {d}/fifo", "char {d}/char"),
    *("block {d}/block", "regular {d}/regular", "socket {d}/socket", "link {d}/file {d}/linked"),
    *("link {d}/file {d}/dir/linked", "rename {d}/b.txt {d}/c.txt", "rename {d}/file {d}/dir/moved"),
    *("exchange {d}/a.log {d}/dir/inner", "rmdir {d}/empty", "unlink {d}/gone", "unlink {d}/dir/inner"),
)
CROSSING = ("nothing", "make", "remove", "refer", "move", "all")

Condition = tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """A rule for a call: as the policy says it, and the same in libseccomp's words."""

    name: str
    action: str
    errno: str = ""
    constraints: tuple[dict[str, Any], ...] = ()
    conditions: tuple[Condition, ...] = ()


def compared(name: str, arg: int, op: str, value: int, mask: int | None = None) -> Call:
    constraint: dict[str, Any] = {"arg": str(arg), "type": "integer", "op": op, "value": value}
    if mask is None:
        return Call(name, "allow", "", (constraint,), ((arg, op, value),))
    return Call(name, "allow", "", ({**constraint, "mask": mask},), ((arg, op, mask, value),))


LOW = 0xFFFFFFFF
BIG = 0x1_0000_0005
FREE = (  # of whatever arguments: what the program itself needs
    *("arch_prctl", "access", "bind", "brk", "chdir", "chmod", "clone", "close", "connect", "execve", "exit"),
    *(
        "exit_group",
        "fstat",
        "ftruncate",
        "getdents64",
        "getrandom",
        "ioctl",
        "kill",
        "link",
        "mkdir",
        "mknodat",
        "mmap",
    ),
    *("mprotect", "munmap", "newfstatat", "open", "openat", "prlimit64", "read", "readlink", "readlinkat", "rename"),
    *("renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn"),
    *("set_robust_list", "set_tid_address", "stat", "symlink", "truncate", "unlink", "wait4", "write", "futex"),
)
CALLS: tuple[Call, ...] = (
    *(Call(name, "allow") for name in FREE),
    Call("fsync", "deny", "EXDEV"),
    Call("fdatasync", "kill"),
    Call("flock", "trap"),
    Call("getpriority", "kill_thread"),
    Call("syncfs", "log"),
    compared("lseek", 1, "eq", BIG),
    compared("pread64", 3, "ge", BIG),
    compared("pwrite64", 3, "gt", BIG),
    compared("readahead", 1, "lt", BIG),
    compared("sync_file_range", 1, "le", BIG),
    compared("fallocate", 2, "ne", BIG),
    compared("fadvise64", 1, "masked_eq", 0x11_0000_0022, 0xFF_0000_00FF),
    # Low words alone, as the kernel takes them.
    Call(
        "socket",
        "allow",
        "",
        ({"arg": "0", "type": "integer", "allowed": ["AF_UNIX", "AF_INET", "AF_INET6"]},),
        ((0, "masked_eq", LOW, 1),),
    ),
    Call(
        "eventfd2",
        "allow",
        "",
        ({"arg": "1", "type": "flags", "allowed": ["0x800", "0x80000"]},),
        ((1, "masked_eq", LOW & ~0x80800, 0),),
    ),
    # Two conditions at once, and two ways.
    Call(
        "tee",
        "allow",
        "",
        (
            {"arg": "2", "type": "integer", "op": "ge", "value": 10},
            {"arg": "3", "type": "integer", "op": "lt", "value": 4},
        ),
        ((2, "ge", 10), (3, "lt", 4)),
    ),
    compared("getpgid", 0, "eq", 0),
    compared("getpgid", 0, "eq", LOW),
    # An exception: libseccomp wants its complement said.
    Call("getsid", "allow", "", (), ((0, "ne", 7),)),
    Call("getsid", "deny", "ECHRNG", ({"arg": "0", "type": "integer", "op": "eq", "value": 7},), ((0, "eq", 7),)),
)
#: libseccomp's further alternatives of rules that are one here.
ALTERNATIVES = [["allow", 0, "socket", [[0, "masked_eq", LOW, family]]] for family in (2, 10)]
VALUES: tuple[int, ...] = (0, 4, 5, 6, 7, 8, 0x22, LOW, LOW + 1, BIG - 1, BIG, BIG + 1, 0x2_0000_0005, 0x11_0000_0022)
VALUES += (0x12_0000_0022, 0x1100_0000_0022, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF)
TESTED = {"lseek": 1, "pread64": 3, "pwrite64": 3, "readahead": 1, "sync_file_range": 1, "fallocate": 2, "fadvise64": 1}
TESTED |= {"getpgid": 0, "getsid": 0}
PLAIN = ("fsync", "fdatasync", "flock", "getpriority", "syncfs", "getppid", "getuid", "sched_yield", "getgid", "uname")


def call(name: str, **arguments: int) -> str:
    """A line for the program: a call with bad descriptors, unless said otherwise."""
    words = [-1 if name not in ("getpgid", "getsid", "socket", "eventfd2") else 0, 0, 0, 0, 0, 0]
    for place, value in arguments.items():
        words[int(place[1:])] = value
    return " ".join(["call", str(NUMBERS[name]), *(str(word & 0xFFFF_FFFF_FFFF_FFFF) for word in words)])


def actions(ground: Path, pid: int) -> list[str]:
    """What is to be done, in this order; paths are below `ground`."""
    found = [line.format(d=ground / name) for name in DIRECTORIES for line in IN_EACH]
    for one in CROSSING:
        for other in CROSSING:
            if one != other:
                found.append(f"rename {ground}/{one}/x-{other} {ground}/{other}/from-{one}")
                found.append(f"link {ground}/{one}/b.txt {ground}/{other}/link-{one}")
    for port in range(4000, 4014):
        found += [f"{verb} {port}" for verb in ("bind", "bind6", "connect", "connect6")]
    found += ["bind 0", "connect 5000", "connect 5001", f"abstract {ABSTRACT}", f"kill {pid} 0", "kill 0 0"]
    found += [call(name, **{f"a{arg}": value}) for name, arg in TESTED.items() for value in VALUES]
    found += [call(name) for name in PLAIN]
    found += [
        call("socket", a0=family | high, a1=1) for family in (1, 2, 3, 10, 16, 40, 0x102) for high in (0, 1 << 32)
    ]
    found += [call("eventfd2", a1=flags) for flags in (0, 1, 0x800, 0x80000, 0x80800, 0x80801, 0x1_0000_0800, 0x2)]
    found += [call("tee", a2=length, a3=flags) for length in (9, 10, 11, 1 << 32) for flags in (0, 3, 4, 1 << 32)]
    # The same numbers of the other ABIs of this machine: getpid of x86, getppid of x32.
    return [*found, "foreign 20", "foreign 64", f"call {NUMBERS['getppid'] | 0x40000000}"]


def policy(ground: Path, program: Path) -> dict[str, Any]:
    files = [{"path": str(program), "access": ["execute", "read_file"]}]
    for name, rules in DIRECTORIES.items():
        files += [{"path": f"{ground}/{name}{ending}", "access": list(rights)} for ending, rights in rules.items()]
    calls: list[dict[str, Any]] = []
    for one in CALLS:
        rule: dict[str, Any] = {"name": one.name, "action": one.action}
        calls.append({**rule, **({"errno": one.errno} if one.errno else {}), "constraints": list(one.constraints)})
        if not one.constraints:
            del calls[-1]["constraints"]
    network = {
        "inbound": [{"protocol": "tcp", "ports": list(BIND)}],
        "outbound": [{"protocol": "tcp", "ports": list(CONNECT)}],
    }
    # UDP is left open: no kernel here holds it.
    for direction in network.values():
        direction.append({"protocol": "udp"})
    return {
        "version": "1.0",
        "settings": {"default_errno": DEFAULT},
        "syscalls": calls,
        "filesystem": {"rules": files},
        "network": network,
        "scopes": list(SCOPES),
    }


def oracle_rules(ground: Path, program: Path) -> dict[str, Any]:
    """The same, with patterns looked up and words of many made one by one."""
    files: dict[str, list[str]] = {str(program): ["execute", "read_file"]}
    for name, rules in DIRECTORIES.items():
        for ending, rights in rules.items():
            single = [
                one for right in rights for one in (("remove_file", "remove_dir") if right == "remove" else (right,))
            ]
            directory = ground / name
            paths = [directory] if ending == "/**" else [directory / ending[1:]]
            if ending == "/*.log":
                paths = [path for path in sorted(directory.glob("*.log")) if not path.is_dir()]
            for path in paths:
                files.setdefault(str(path), []).extend(single)
    calls = [
        [one.action, getattr(errno, one.errno) if one.errno else 0, one.name, [list(each) for each in one.conditions]]
        for one in CALLS
    ]
    return {
        "files": files,
        "bind": list(BIND),
        "connect": list(CONNECT),
        "scopes": list(SCOPES),
        "errno": getattr(errno, DEFAULT),
        "calls": [*calls, *ALTERNATIVES],
    }


def plant(ground: Path, program: bytes) -> None:
    """Every directory with the same in it."""
    for name in DIRECTORIES:
        directory = ground / name
        for inner in ("dir", "empty", "deep.log"):
            (directory / inner).mkdir(parents=True)
        for file in (
            "file",
            "gone",
            "a.log",
            "b.txt",
            "dir/inner",
            "deep.log/inner",
            *(f"x-{one}" for one in CROSSING),
        ):
            (directory / file).write_text("content")
        (directory / "prog").write_bytes(program)
        (directory / "script").write_text(f"#!{ground}/all/prog\n")
        for file in ("prog", "script"):
            (directory / file).chmod(0o755)
        (directory / "link").symlink_to("file")
        os.mknod(directory / "device", 0o020666, os.makedev(1, 3))


def listing(ground: Path) -> list[tuple[str, int, int, int]]:
    """What is there: names, types and permissions, sizes, links. Directories' sizes depend on the file system."""
    found = []
    for path in sorted(ground.rglob("*")):
        status = path.lstat()
        size = 0 if path.is_dir() else status.st_size
        found.append((str(path.relative_to(ground)), status.st_mode, size, status.st_nlink))
    return found


SERVER = f"""
import fcntl, socket, struct, sys
with socket.socket() as one:  # SIOCSIFFLAGS: loopback is up
    fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
servers = [socket.create_server(("127.0.0.1", port)) for port in (5000, 5001)]
unix = socket.socket(socket.AF_UNIX)
unix.bind("\\0{ABSTRACT}")
unix.listen(100)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def network() -> Iterator[int]:
    """A network of its own in which something listens; the pid that is in it."""
    words = ["unshare", "--net", sys.executable, "-I", "-S", "-c", SERVER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.stdin.close()
            process.wait(timeout=30)


@dataclass(frozen=True)
class Run:
    """What became of each action, and what was there afterwards."""

    answers: list[str]
    after: list[tuple[str, int, int, int]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The actions as they are, by the launcher and by the oracle, each in the same place made anew."""
    need("KERNEL", launcher.unavailable() or (None if os.geteuid() == 0 else "the tests need root"))
    machine = os.uname().machine
    need("KERNEL", None if machine == "x86_64" else f"the calls are those of x86_64, and this is {machine}")
    abi = landlockpy.abi_version()
    need("KERNEL", None if abi >= 6 else f"Landlock's ABI is {abi} here, and the tests need 6")
    base = tmp_path_factory.mktemp("oracle")
    program, ground = base / "actions", base / "ground"
    source = ROOT / "tests/payload/actions.c"
    subprocess.run(["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    (base / "policy.yaml").write_text(json.dumps(policy(ground, program)))
    plant(ground, program.read_bytes())
    (base / "rules.json").write_text(json.dumps(oracle_rules(ground, program)))
    assert main(["compile", "-i", str(base / "policy.yaml"), "-o", str(base / "p.scmm-pol")]) == 0
    ways: dict[str, list[str]] = {
        "bare": [],
        "launcher": [str(launcher.build(base)), "-p", str(base / "p.scmm-pol"), "--"],
        "oracle": [sys.executable, str(ROOT / "tests/kernel/oracle_enforce.py"), str(base / "rules.json")],
    }
    found = {}
    for name, words in ways.items():
        subprocess.run(["rm", "-rf", ground], check=True)
        plant(ground, program.read_bytes())
        with network() as pid:
            entered = ["nsenter", f"--net=/proc/{pid}/ns/net", *words, str(program)]
            lines = "".join(f"{line}\n" for line in actions(ground, pid))
            done = subprocess.run(entered, input=lines, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        found[name] = Run(done.stdout.splitlines(), listing(ground))
    return found


def table(runs: dict[str, Run]) -> list[tuple[str, str, str, str]]:
    """Each action with what became of it: bare, by the launcher, by the oracle."""
    lines = actions(Path("/"), 1)
    return list(zip(lines, *(runs[name].answers for name in ("bare", "launcher", "oracle")), strict=True))


def test_the_same_becomes_of_each_action(runs: dict[str, Run]) -> None:
    found = table(runs)
    assert len(found) >= 1000
    assert [each for each in found if each[2] != each[3]] == []
    assert runs["launcher"].after == runs["oracle"].after


def test_without_a_policy_it_is_another(runs: dict[str, Run]) -> None:
    """Each refusal is the policy's: without it, the action ends in another way. And what was refused did not happen."""
    found = table(runs)
    refused = [
        each for each in found if each[2] in (f"{errno.EACCES}", f"{errno.ENOTUNIQ}", "signal 31", f"{errno.EPERM}")
    ]
    assert len(refused) > 400
    assert [each for each in refused if each[1] == each[2]] == []
    assert sum(each[1] == each[2] for each in found) > 300, "and much is left as it is"
    names = {line[0] for line in runs["bare"].after}
    kept = {line[0] for line in runs["launcher"].after}
    for name in ("new", "made", "symlink", "fifo", "char", "block", "regular", "socket", "linked"):
        assert f"nothing/{name}" in names and f"nothing/{name}" not in kept
        assert f"all/{name}" in names and f"all/{name}" in kept
    for name in ("gone", "empty", "b.txt"):
        assert f"nothing/{name}" not in names and f"nothing/{name}" in kept
        assert f"all/{name}" not in names and f"all/{name}" not in kept


@pytest.mark.parametrize("verb", sorted({line.split()[0] for line in actions(Path("/"), 1)}))
def test_each_kind_of_action_is_held_somewhere_but_those_that_landlock_does_not_know(
    runs: dict[str, Run], verb: str
) -> None:
    """No verb of the program is one that never does anything."""
    answers = {(each[1], each[2]) for each in table(runs) if each[0].split()[0] == verb}
    assert "255" not in {bare for bare, _ in answers}
    never_held = ("stat", "access", "readlink", "chdir", "chmod")
    assert any(bare != held for bare, held in answers) != (verb in never_held), answers
