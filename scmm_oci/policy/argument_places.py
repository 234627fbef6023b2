"""Where an argument of a call stands on another architecture. Pure. Called by policy.answers for
ABIs beside the own, and by compiled.retarget.

Nearly every call has its arguments in the same order everywhere. The exceptions: those that tables.arguments keeps
apart, clone(2), numbers of 64 bits that take two registers of 32 (syscall(2)), and calls that find their arguments in
memory.
"""

from __future__ import annotations

from scmm_oci.policy import constraints
from scmm_oci.tables import arguments, syscalls
from scmm_oci.tables.arch import NARROW, Arch

# clone(2), "C library/kernel differences": all but x86_64, x32 and s390 are what the kernel calls CLONE_BACKWARDS.
_CLONE = ("flags", "stack", "parent_tid", "tls", "child_tid")
_CLONES = {
    Arch.X86_64: ("flags", "stack", "parent_tid", "child_tid", "tls"),
    Arch.X32: ("flags", "stack", "parent_tid", "child_tid", "tls"),
    Arch.S390X: ("stack", "flags", "parent_tid", "child_tid", "tls"),
    Arch.S390: ("stack", "flags", "parent_tid", "child_tid", "tls"),
}

# The first argument of 64 bits that is no pointer: it and what follows stands elsewhere where registers have 32.
_FIRST_LONG = {
    "fadvise64": 1,
    "fadvise64_64": 1,
    "fallocate": 2,
    "fanotify_mark": 2,
    "lookup_dcookie": 0,
    "pread64": 3,
    # Of these 32-bit ABIs have the upper half behind (preadv(2)), which those of 64 bits do not look at.
    "preadv": 3,
    "preadv2": 3,
    "pwritev": 3,
    "pwritev2": 3,
    "pwrite64": 3,
    "readahead": 1,
    "sync_file_range": 1,
    "sync_file_range2": 2,
}

# Calls with one argument, the address of the others: mmap(2), select(2).
_IN_MEMORY = {
    Arch.X86: frozenset({"mmap", "select"}),
    Arch.S390: frozenset({"mmap", "mmap2"}),
    Arch.S390X: frozenset({"mmap"}),
}


def moved(call: str, arg: int, before: Arch, after: Arch) -> int | None:
    """Where the argument of a call stands on another architecture; None where a filter cannot see it, or nobody knows.

    Args:
        call: a call that both have.
        arg: its index on `before`.
    """
    if before is after:
        return arg
    if call in _IN_MEMORY.get(before, ()) or call in _IN_MEMORY.get(after, ()):
        return None
    if call == "clone":
        roles, others = _CLONES.get(before, _CLONE), _CLONES.get(after, _CLONE)
        return others.index(roles[arg]) if arg < len(roles) else None
    known = constraints.argument_of(call, arg, before)
    if known is not None:
        return _same_argument(call, known, before, after)
    if (before in NARROW) != (after in NARROW) or Arch.ARM in (before, after):
        # ARM gives such a number an even register, so that it differs from the other ABIs of 32 bits as well.
        return arg if arg < _FIRST_LONG.get(call, arg + 1) else None
    return arg


def is_seen(call: str, arg: int, own: Arch, arch: Arch) -> bool:
    """Whether a constraint that a policy has for its own ABI can be tested on this one, at the same place."""
    if call in _IN_MEMORY.get(arch, ()):
        return False
    if call not in syscalls.numbers(own):
        return True
    return moved(call, arg, own, arch) == arg


def _same_argument(call: str, known: arguments.Argument, before: Arch, after: Arch) -> int | None:
    """The place of the argument with the same rank among those that the tables keep."""
    here, there = arguments.arguments(before)[call], arguments.arguments(after).get(call, ())
    if len(here) != len(there):
        return None
    other = there[here.index(known)]
    if other.vocabulary != known.vocabulary or other.field is not None or len(other.indexes) != 1:
        return None
    return other.indexes[0]
