"""Which calls can be made on behalf, and what they ask for, whatever their ABI."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor.behalf.table import AT_FDCWD, CALLS, Act, Wrong, act_of, can
from scmm_oci.enforcer.monitor.model import Address, Call, Memory
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.tables.operations import FILE_CALLS
from scmm_oci.tables.syscalls import all_names

HERE = from_machine(os.uname().machine)
NARROW = {Arch.X86_64: Arch.X86, Arch.AARCH64: Arch.ARM}[HERE]
FDCWD = AT_FDCWD & 0xFFFFFFFF  # as a program of 32 bits has it in a register; of 64, all is set


def call(name: str | None, *args: int, arch: Arch | None = HERE) -> Call:
    padded: Sequence[int] = [one & (1 << 64) - 1 for one in (*args, *[0] * (6 - len(args)))]
    return Call(arch, (arch or HERE).audit, 0, name, tuple(padded))  # type: ignore[arg-type]


def test_every_one_is_a_call_that_names_files_or_addresses() -> None:
    assert not CALLS - all_names()
    assert not CALLS - FILE_CALLS.keys()
    assert all(can(call(name)) for name in CALLS)


def test_what_is_no_such_call_cannot_be_made() -> None:
    for name in (None, "execve", "read", "socketcall", "sendto", "mount", "openat3"):
        assert not can(call(name))
        with pytest.raises(ValueError, match="cannot be made"):
            act_of(call(name), Memory())
    assert not can(call("openat", arch=None))
    foreign = Arch.S390X
    assert not can(call("openat", arch=foreign))
    assert can(call("openat", arch=NARROW))


@pytest.mark.parametrize(
    ("name", "at", "known", "unknown"),
    [
        ("open", 1, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TMPFILE, 1 << 30),
        ("openat", 2, os.O_DIRECTORY | os.O_NOATIME, 1 << 25),
        ("openat", 2, os.O_NOFOLLOW, os.O_PATH),  # no such descriptor can be handed over
        ("unlinkat", 2, 0x200, 0x100),
        ("renameat2", 4, 7, 8),
        ("linkat", 4, 0x1400, 0x100),
        ("fchmodat2", 3, 0x1100, 0x400),
        ("fchownat", 4, 0x1100, 0x800),
    ],
)
def test_flags_that_are_not_known(name: str, at: int, known: int, unknown: int) -> None:
    assert can(call(name, *[0] * at, known))
    assert not can(call(name, *[0] * at, known | unknown))
    # Flags are 32 bits wide.
    assert can(call(name, *[0] * at, known | 1 << 40))


@pytest.mark.parametrize("name", ["chown", "lchown"])
def test_ids_of_16_bits_are_not_taken_for_others(name: str) -> None:
    assert not can(call(name, 0, 1, 2, arch=NARROW))
    assert act_of(call(f"{name}32", 0, 1, 2, arch=NARROW), Memory((b"x",))).numbers == (1, 2)
    assert act_of(call(name, 0, 1, 2), Memory((b"x",))).numbers == (1, 2)


def test_old_calls_are_their_newest_siblings() -> None:
    one, two = (AT_FDCWD,), (AT_FDCWD, AT_FDCWD)
    creat = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    for old, new in (
        (call("creat", 0, 0o644), Act("open", one, creat, (0o644,))),
        (call("open", 0, os.O_RDONLY, 0o644), Act("open", one, 0, (0,))),
        (call("openat", FDCWD, 0, os.O_CREAT, 0o107777), Act("open", one, os.O_CREAT, (0o7777,))),
        (call("openat", 7, 0, 0), Act("open", (7,), 0, (0,))),
        (call("mkdir", 0, 0o755), Act("mkdir", one, numbers=(0o755,))),
        (call("mkdirat", -1, 0, 0o755), Act("mkdir", (-1,), numbers=(0o755,))),
        (call("rmdir", 0), Act("unlink", one, 0x200)),
        (call("unlinkat", 3, 0, 0x200), Act("unlink", (3,), 0x200)),
        (call("rename", 0, 0), Act("rename", two)),
        (call("renameat2", 3, 0, 4, 0, 1), Act("rename", (3, 4), 1)),
        (call("linkat", 3, 0, FDCWD, 0, 0x400), Act("link", (3, AT_FDCWD), 0x400)),
        (call("symlinkat", 0, 5, 0), Act("symlink", (5,))),
        (call("mknodat", 5, 0, 0o20666, 0x103), Act("mknod", (5,), numbers=(0o20666, 0x103))),
        (call("chmod", 0, 0o600), Act("chmod", one, numbers=(0o600,))),
        (call("lchown", 0, -1, 5), Act("chown", one, 0x100, (0xFFFFFFFF, 5))),
        (call("truncate", 0, 1 << 40), Act("truncate", one, numbers=(1 << 40,))),
        (call("truncate", 0, 7, arch=NARROW), Act("truncate", one, numbers=(7,))),
        (call("connect", 9, 0, 16), Act("connect", numbers=(16,), socket=9)),
    ):
        assert act_of(old, Memory()) == new


def test_a_length_in_two_registers() -> None:
    words = (0, 5, 1) if NARROW is Arch.X86 else (0, 0, 5, 1)
    assert act_of(call("truncate64", *words, arch=NARROW), Memory()).numbers == (1 << 32 | 5,)


def test_large_files_are_for_who_says_so_where_that_has_to_be_said() -> None:
    large = {Arch.X86_64: 0o100000, Arch.AARCH64: 0o400000}[HERE]
    assert act_of(call("open", 0, 0, arch=NARROW), Memory()).small
    assert not act_of(call("open", 0, large, arch=NARROW), Memory()).small
    assert not act_of(call("open", 0, 0), Memory()).small


@pytest.mark.parametrize(
    ("made", "number"),
    [
        (call("openat", 0, 0, os.O_TMPFILE), errno.EINVAL),
        (call("truncate", 0, -1), errno.EINVAL),
        (call("truncate", 0, 1 << 31, arch=NARROW), errno.EINVAL),
        (call("connect", 0, 0, 129), errno.EINVAL),
        (call("bind", 0, 0, -1), errno.EINVAL),
        (call("openat2", 0, 0, 0, 23), errno.EINVAL),
        (call("openat2", 0, 0, 0, 5000), errno.E2BIG),
        (call("openat2", 0, 0, 0, 24), errno.EFAULT),
    ],
)
def test_what_the_kernel_refuses_for_its_arguments(made: Call, number: int) -> None:
    with pytest.raises(Wrong) as error:
        act_of(made, Memory())
    assert error.value.number == number


def how(flags: int, mode: int = 0, resolve: int = 0, more: bytes = b"") -> tuple[Call, Memory]:
    text = struct.pack("=QQQ", flags, mode, resolve) + more
    return call("openat2", 0, 0, 0, len(text)), Memory((b"x",), text)


def test_how_of_openat2() -> None:
    assert act_of(*how(os.O_CREAT, 0o600, 8)) == Act("open", (0,), os.O_CREAT, (0o600,), 8)
    assert act_of(*how(0, more=bytes(8))) == Act("open", (0,), 0, (0,))
    for flags, mode, resolve, number in (
        (0, 0o600, 0, errno.EINVAL),
        (os.O_CREAT, 0o10000, 0, errno.EINVAL),
        (0, 0, 8 | 16, errno.EINVAL),
        (0, 0, 32, errno.EAGAIN),
    ):
        with pytest.raises(Wrong) as error:
            act_of(*how(flags, mode, resolve))
        assert error.value.number == number
    for unknown in (how(1 << 40), how(0, 0, 64), how(0, more=b"\1"), how(os.O_PATH)):
        with pytest.raises(ValueError, match=r"known|O_PATH"):
            act_of(*unknown)


def test_a_directory_that_is_to_be_created_means_two_things() -> None:
    with pytest.raises(ValueError, match="O_CREAT with O_DIRECTORY"):
        act_of(call("openat", 0, 0, os.O_CREAT | os.O_DIRECTORY), Memory())


@given(st.sampled_from(sorted(CALLS)), st.lists(st.integers(0, (1 << 64) - 1), min_size=6, max_size=6))
def test_any_registers_are_something_or_nothing(name: str, args: list[int]) -> None:
    made = call(name, *args)
    memory = Memory((b"a", b"b"), bytes(24), Address("inet", None, None, b"\2\0"))
    try:
        act = act_of(made, memory)
    except (Wrong, ValueError):
        return
    assert can(made)
    assert all(-(1 << 31) <= fd < 1 << 31 for fd in (*act.directories, act.socket))
    assert 0 <= act.flags < 1 << 32
