"""The launcher on this kernel: built once, given policies that are compiled here, and a program that tries things.

The program is tests/payload/enforce_acts.c: static, so that a policy needs no rules but those that a test is about.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import landlockpy
from live import compiled
from recording import as_from_a_shell
from support import ROOT, need

from hatch_build import compile_launcher
from rig.process import missing_programs
from scmm_oci.compiled import bpf
from scmm_oci.compiled.landlock import ruleset
from scmm_oci.compiled.polfile import write
from scmm_oci.compiled.polfile.model import Ruleset
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy.model import Action, PathRule, Policy, RunAs, Settings
from scmm_oci.tables import landlock
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

#: The newest ABI that these tests ask for: policies are cut to it, so that they can hold in full.
ABI = 7
HERE = Arch.X86_64 if os.uname().machine == "x86_64" else Arch.AARCH64
SOURCES = ROOT / "launcher"
Rules = Mapping[Path | str, Sequence[str]] | Sequence[PathRule]


def needed() -> None:
    """Skip or fail where the launcher cannot be tested."""
    found = landlockpy.abi_version()
    reason = missing_programs("clang", "ld.lld", "gcc")
    if os.geteuid():
        reason = "the launcher's tests need root"
    need("KERNEL", reason or (None if found >= ABI else f"Landlock's ABI is {found} here, and the tests need {ABI}"))


@cache
def base() -> Path:
    """A directory for the whole session, which every user can look into."""
    directory = Path(tempfile.mkdtemp(prefix="scmm-enforce-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    return directory


@cache
def launcher() -> Path:
    """scmm-enforce as it is shipped."""
    target = base() / "scmm-enforce"
    compile_launcher(ROOT, os.uname().machine, target)
    return target


@cache
def _objects() -> tuple[Path, ...]:
    directory = base() / "objects"
    directory.mkdir(exist_ok=True)
    sources = sorted([*SOURCES.glob("*.c"), SOURCES / "start.S"])
    subprocess.run(["clang", *_FLAGS, "-c", *sources], cwd=directory, check=True, timeout=120)
    return tuple(one for one in directory.glob("*.o") if one.stem != "landlock")


_FLAGS = ("-std=c11", "-ffreestanding", "-fno-builtin", "-Os", "-fno-stack-protector", "-fno-pic")


@cache
def capped(abi: int) -> Path:
    """The launcher that takes the kernel's Landlock for an older one's."""
    target = base() / f"scmm-enforce-abi-{abi}"
    given = (f"-DSCMM_TEST_ABI={abi}", "-nostdlib", "-static", "-fuse-ld=lld", "-o", target)
    subprocess.run(["clang", *_FLAGS, *given, SOURCES / "landlock.c", *_objects()], check=True, timeout=120)
    return target


@cache
def acts() -> Path:
    """The program that tries things."""
    return compiled("enforce_acts.c", base())


@contextmanager
def place() -> Iterator[Path]:
    """A directory of root's for one test, which every user can look into."""
    directory = Path(tempfile.mkdtemp(dir=base()))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def cut(made: Ruleset | None, abi: int) -> Ruleset | None:
    """A ruleset without what is newer than an ABI. A layer that is newer as a whole is gone."""
    if made is None:
        return None
    fs, net = made.handled_fs & landlock.fs_of_abi(abi), made.handled_net & landlock.net_of_abi(abi)
    scoped = made.scoped & landlock.scopes_of_abi(abi)
    paths = tuple(
        replace(one, access=one.access & fs, abi=landlock.abi_of_fs(one.access & fs))
        for one in made.paths
        if one.access & fs
    )
    ports = tuple(
        replace(one, access=one.access & net, abi=landlock.abi_of_net(one.access & net))
        for one in made.ports
        if one.access & net
    )
    least = max(landlock.abi_of_fs(fs), landlock.abi_of_net(net), landlock.abi_of_scopes(scoped))
    kept = Ruleset(fs, net, scoped, least, paths, ports, made.has_addresses)
    return kept if fs or net or scoped or made.has_addresses else None


def path_rules(files: Rules | None) -> tuple[PathRule, ...] | None:
    """Rules for files, and the one that the program needs: execve(2) opens the file for reading, too."""
    if files is None:
        return None
    given = (
        [PathRule(str(path), tuple(rights)) for path, rights in files.items()] if isinstance(files, Mapping) else files
    )
    return (*given, PathRule(str(acts()), ("execute", "read_file")))


def bytes_of(
    policy: Policy | None = None,
    *,
    files: Rules | None = None,
    abi: int = ABI,
    run_as: RunAs | None = None,
    capabilities: tuple[str, ...] | None = None,
    **parts: Any,
) -> bytes:
    """A compiled policy: the one that is given, or one of these parts which allows all calls."""
    if policy is None:
        settings = Settings(default_action=Action.ALLOW, bad_arch_action=Action.ALLOW, run_as=run_as)
        policy = Policy(settings=settings, filesystem=path_rules(files), capabilities=capabilities, **parts)
    made, _ = policy_file(policy)
    return write(replace(made, ruleset=cut(made.ruleset, abi)))


def bytes_of_rules(**parts: Any) -> bytes:
    """A compiled policy of Landlock rules alone, whatever they are: rights that are newer are not cut."""
    settings = Settings(default_action=Action.ALLOW, bad_arch_action=Action.ALLOW)
    policy = Policy(settings=settings, **parts)
    made, _ = policy_file(policy)
    assert made.ruleset == ruleset(policy)[0]
    return write(made)


@dataclass(frozen=True)
class Done:
    """How a run ended: exit status (or negative signal), lines of the program, what stderr has, and the last status."""

    code: int
    lines: list[str]
    errors: str
    status: dict[str, Any] | None

    @property
    def missing(self) -> list[str]:
        """The reasons of the status."""
        assert self.status is not None, self.errors
        found: list[str] = self.status["missing"]
        return found


def stored(policy: bytes) -> Path:
    """A policy in a file as the launcher takes it."""
    handle, name = tempfile.mkstemp(dir=base(), suffix=".scmm-pol")
    with os.fdopen(handle, "wb") as file:
        file.write(policy)
    os.chmod(name, 0o644)
    return Path(name)


def run(
    policy: bytes | Path,
    *words: object,
    mode: str = "standard",
    program: object = None,
    options: Sequence[str] = (),
    by: Path | None = None,
    before: Sequence[object] = (),
    **how: Any,
) -> Done:
    """Run `program` (that which tries things) with words under a policy.

    Args:
        by: another launcher. before: words of a program that runs the launcher.
        how: for subprocess.run.
    """
    file = policy if isinstance(policy, Path) else stored(policy)
    read_end, write_end = os.pipe()
    try:
        command = [
            *(str(one) for one in before),
            *(str(by or launcher()), "-p", str(file), "-m", mode, "--status-fd", str(write_end), *options),
            *("--", str(acts() if program is None else program), *(str(one) for one in words)),
        ]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        how = {**streams, "preexec_fn": as_from_a_shell, **how}
        done = subprocess.run(command, pass_fds=(write_end, *how.pop("pass_fds", ())), timeout=120, check=False, **how)
    finally:
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            status = pipe.read()
        if file is not policy:
            file.unlink()
    return Done(
        done.returncode,
        (done.stdout or b"").decode().splitlines(),
        (done.stderr or b"").decode(),
        json.loads(status.splitlines()[-1]) if status else None,
    )


def checked(policy: bytes, *, mode: str = "standard", by: Path | None = None, before: Sequence[object] = ()) -> Done:
    """What --check --json says, as `status`; `lines` and `errors` are those of the text."""
    file = stored(policy)
    try:
        command = [*(str(one) for one in before), str(by or launcher()), "-p", str(file), "-m", mode, "--check"]
        how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False}
        as_json, text = subprocess.run([*command, "--json"], **how), subprocess.run(command, **how)
    finally:
        file.unlink()
    assert as_json.returncode == text.returncode
    return Done(text.returncode, text.stdout.splitlines(), text.stderr, json.loads(as_json.stdout))


#: Loads a filter, then executes.
UNDER = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
program = bytes.fromhex(sys.argv[1])
buffer = ctypes.create_string_buffer(program)
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, head, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
"""


def under(*program: bpf.Instruction) -> tuple[str, ...]:
    """Words before a command that is to be under this filter."""
    return (sys.executable, "-I", "-S", "-c", UNDER, bpf.encode(program).hex())


def refusing(name: str, answer: int, value: int | None = None, *, at: int = 0) -> tuple[str, ...]:
    """Words before a command in which a call fails with an errno; `value`: only where its argument `at` is that."""
    found = [bpf.Instruction(bpf.LOAD, 16 + 8 * at), bpf.Instruction(bpf.JEQ, value, 0, 1)] if value is not None else []
    return under(
        bpf.Instruction(bpf.LOAD, 0),
        bpf.Instruction(bpf.JEQ, numbers(HERE)[name], 0, 1 + len(found)),
        *found,
        bpf.Instruction(bpf.RET, bpf.RET_ERRNO | answer),
        bpf.Instruction(bpf.RET, bpf.RET_ALLOW),
    )


def accepted(listener: socket.socket) -> bool:
    """Whether somebody has connected to it, who is let go."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
