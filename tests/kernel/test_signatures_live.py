"""tables.signatures beside what the running kernel says of its own calls, in tracefs."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from support import need

from scmm_oci.tables.signatures import SIGNATURES, is_int

# In a mount namespace of its own: the machine's may have none, and keeps none.
_PRINT = """
test -d /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing || exit 0
cd /sys/kernel/tracing/events/syscalls || exit 0
grep -H 'field:' sys_enter_*/format
"""
_FIELD = re.compile(r"sys_enter_(\w+)/format:\s*field:(.*?)\s*\b(\w+);\s*offset:(\d+)")
_OF_32_BITS = re.compile(
    r"(const )?(int|unsigned( int)?|enum \w+|_*[su]32|(pid|uid|gid|u?mode|clockid|key|qid|rwf|key_serial|timer|mqd)_t)"
)
# The kernel has no more than these of fewer bits than a register among its own types: a descriptor that it takes as
# unsigned long first, and as unsigned int after that (fs/read_write.c, mm/mmap.c); and umount(2), which glibc's
# umount2 is.
_ODD = {("readv", 0), ("writev", 0), ("preadv", 0), ("preadv2", 0), ("pwritev", 0), ("pwritev2", 0), ("mmap", 4)}
_ODD |= {("ptrace", 1), ("umount", 1)}


@pytest.fixture(scope="module")
def types() -> dict[str, list[str]]:
    """Call → the types of its arguments."""
    reason = "only root mounts tracefs" if os.geteuid() else None
    need("kernel", reason)
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", _PRINT], capture_output=True, text=True, timeout=60
    )
    found: dict[str, list[str]] = {}
    for name, kind, field, offset in _FIELD.findall(done.stdout):
        if int(offset) >= 16 and field != "__syscall_nr":
            found.setdefault(name, []).append(kind)
    need("kernel", None if found else f"this kernel has no events of system calls: {done.stderr}")
    return found


def test_the_kernel_has_as_many_arguments(types: dict[str, list[str]]) -> None:
    assert len(types) > 200
    known = {name: kinds for name, kinds in types.items() if name in SIGNATURES}
    assert len(known) > 200
    other = {name for name, kinds in known.items() if len(kinds) != len(SIGNATURES[name])}
    assert other <= {"umount"}


def test_of_just_these_it_takes_32_bits(types: dict[str, list[str]]) -> None:
    wrong = {
        (name, index): kind
        for name, kinds in types.items()
        for index, kind in enumerate(kinds)
        if name in SIGNATURES and is_int(name, index) != bool(_OF_32_BITS.fullmatch(kind))
    }
    assert wrong.keys() <= _ODD, wrong
    assert is_int("setuid", 0) and not is_int("ptrace", 0) and not is_int("brk", 0) and not is_int("no such call", 0)
