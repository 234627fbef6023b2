"""The filter for our own verbs: what it refuses, by its instructions, and in a process of its own."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT, need

from scmm_oci.compiled import bpf
from scmm_oci.compiled.simulate import Call, simulate
from scmm_oci.kernel import refusing
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

REFUSED = bpf.RET_ERRNO | errno.EPERM
MACHINES = [Arch.X86_64, Arch.AARCH64]


def answer(machine: Arch, call: Call, families: tuple[int, ...] = ()) -> int:
    return simulate(bpf.decode(refusing._filter(machine, families)), call).value


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_listed_is_refused_and_nothing_else(machine: Arch) -> None:
    table = numbers(machine)
    refused = {name for name, nr in table.items() if answer(machine, Call(nr, machine.audit)) == REFUSED}
    assert refused == {"socket", "socketpair", *refusing._CALLS} & set(table)
    assert len(refused) > 50 and not refused & {"openat", "renameat2", "linkat", "execve", "kill", "read", "mmap"}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_name_is_one(machine: Arch) -> None:
    assert (
        set(refusing._CALLS) <= set(numbers(Arch.X86_64))
        and bpf.problems(bpf.decode(refusing._filter(machine, (1, 16)))) == []
    )


@given(st.sampled_from(MACHINES), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_calls_of_other_abis_are_refused(machine: Arch, nr: int, audit: int) -> None:
    assert answer(machine, Call(nr, audit)) == REFUSED or audit == machine.audit
    assert answer(Arch.X86_64, Call(nr | 1 << 30, Arch.X86_64.audit)) == REFUSED


@given(st.integers(0, 2**64 - 1))
def test_sockets_are_made_of_the_families_that_are_given(family: int) -> None:
    nr = numbers(Arch.X86_64)["socket"]
    asked = Call(nr, Arch.X86_64.audit, args=(family, 0, 0, 0, 0, 0))
    assert answer(Arch.X86_64, asked) == REFUSED
    # The kernel takes the lower half (an int).
    given_ = (socket.AF_NETLINK, family & 0xFFFFFFFF)
    assert answer(Arch.X86_64, asked, given_) == bpf.RET_ALLOW
    ours = family & 0xFFFFFFFF == socket.AF_NETLINK
    assert answer(Arch.X86_64, asked, (socket.AF_NETLINK,)) == (bpf.RET_ALLOW if ours else REFUSED)


LIVE = """
import errno, os, socket, sys
from scmm_oci.kernel import refusing
held = sys.argv[1] == "held"
assert not held or refusing.refuse(families=(socket.AF_NETLINK,))
def netlink(): socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
def datagrams(): socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
def unix(): socket.socket(socket.AF_UNIX).close()
def pair(): socket.socketpair()
def mode(): os.chmod(sys.argv[2], 0o600)
def attribute(): os.removexattr(sys.argv[2], "user.none")
def write(): open(sys.argv[2], "w").close()
for each in (netlink, unix, pair, datagrams, mode, attribute, write):
    try:
        each()
        print(each.__name__, "done")
    except OSError as error:
        print(each.__name__, errno.errorcode[error.errno])
"""


def test_the_kernel_takes_it(tmp_path: object) -> None:
    need("KERNEL", None if os.uname().machine in ("x86_64", "aarch64") else "there is a filter for two machines")

    def tried(how: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", LIVE, how, f"{tmp_path}/file"],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())

    open(f"{tmp_path}/file", "w").close()
    control = tried("free")
    assert control.pop("attribute") in ("ENODATA", "EOPNOTSUPP")
    assert control == dict.fromkeys(("netlink", "unix", "pair", "datagrams", "mode", "write"), "done")
    held = tried("held")
    assert held == {
        **dict.fromkeys(("unix", "datagrams", "mode", "attribute"), "EPERM"),
        **dict.fromkeys(("netlink", "pair", "write"), "done"),
    }
