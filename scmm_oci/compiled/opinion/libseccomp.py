"""Rules → the filter that libseccomp makes of them, through pyseccomp. The only module that knows the library.

Facts of 2.5.4, measured here:

- A rule that does what the default does is refused (EACCES).
- It has no errno 4095, which the kernel has (MAX_ERRNO); another number stands for that.
- It has one condition for an argument in a rule.
- A name that the table of the machine we run on lacks cannot be had for another machine either (EFAULT).
- In list form it does not load the number of the call before an ABI's first rule where that is for a call that the
  ABI has through a multiplexer only (semop on x86). So we have it make its tree (CTL_OPTIMIZE 2).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import WORD, Program
from scmm_oci.compiled.opinion.reading import BIG_ENDIAN
from scmm_oci.errors import Failure
from scmm_oci.policy.constraints import FULL, Alternative, Test
from scmm_oci.policy.model import Operator
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import multiplexers

# SCMP_FLTATR_CTL_OPTIMIZE, and the value for a binary tree (seccomp_attr_set(3)).
_OPTIMIZE, _TREE = 8, 2
_LAST_ERRNO = bpf.RET_ERRNO | 4095
# The API level with all actions (seccomp_api_get(3)); else it would be what the running kernel has.
_API = 6


@dataclass(frozen=True)
class LibraryRule:
    """A rule for the library: a name, or a number of the machine's own ABI; the action's value; conditions."""

    call: str | int
    value: int
    tests: Alternative = ()


@cache
def unavailable() -> str | None:
    """Why the library cannot be asked here, or None."""
    if ctypes.util.find_library("seccomp") is None:
        return "libseccomp is not installed (Debian's libseccomp2)"
    try:
        import pyseccomp
    except ImportError:
        return "pyseccomp is not installed (pip install 'scmm-oci[libseccomp]')"
    try:
        pyseccomp.set_api(_API)
    except (OSError, RuntimeError):
        return f"libseccomp {version()} is too old: it has not the actions of API level {_API}"
    return None


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


@cache
def version() -> str:
    """The library's version (seccomp_version(3))."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    found = library.seccomp_version().contents
    return f"{found.major}.{found.minor}.{found.micro}"


def _library() -> Any:
    reason = unavailable()
    if reason is not None:
        raise Failure("the second opinion is not to be had: " + reason)
    import pyseccomp

    return pyseccomp


def _token(arch: Arch) -> int:
    token: int = getattr(_library().Arch, arch.value.upper())
    return token


@cache
def is_native(arch: Arch) -> bool:
    """Whether the library takes the ABI for that of the machine that it runs on."""
    native: int = _library().system_arch()
    return native == _token(arch)


@cache
def knows(arch: Arch, name: str) -> bool:
    """Whether the library has a name, with the number that we have. Of a name without number here: at all."""
    library = _library()
    number = syscalls.number_of(arch, name)
    if library.resolve_syscall(library.Arch.NATIVE, name) == -1:
        return False
    if number is None or any(name in members for members in multiplexers(arch).values()):
        return True  # of these it tells a number of its own, and knows both ways to the call
    found: int = library.resolve_syscall(_token(arch), name)
    return found & WORD == number


def make(arches: Sequence[Arch], rules: Iterable[LibraryRule], *, default: int, bad_arch: int) -> Program:
    """The library's filter.

    Args:
        arches: all with one byte order.
        rules: none that does what the default does, and none with two conditions on one argument.

    Raises:
        Failure: the library is not there, or refuses something.
    """
    library = _library()
    order: bpf.ByteOrder = "big" if arches[0] in BIG_ENDIAN else "little"
    given = list(rules)
    used = {default, bad_arch, *(rule.value for rule in given)}
    stand_in = next(one for one in range(_LAST_ERRNO - 1, 0, -1) if one not in used)
    values = {_LAST_ERRNO: stand_in} if _LAST_ERRNO in used else {}
    step = "made a filter"
    try:
        made = library.SyscallFilter(values.get(default, default))
        made.set_attr(library.Attr.ACT_BADARCH, values.get(bad_arch, bad_arch))
        made.set_attr(_OPTIMIZE, _TREE)
        made.remove_arch(library.Arch.NATIVE)
        for arch in arches:
            made.add_arch(_token(arch))
        for rule in given:
            step = f"taken a rule for {rule.call}"
            made.add_rule(
                values.get(rule.value, rule.value), rule.call, *(_condition(test, library) for test in rule.tests)
            )
        step = "written the filter"
        program = bpf.decode(_exported(made), order)
    except OSError as error:
        raise Failure(f"libseccomp {version()} has not {step}: {error.strerror}") from error
    return tuple(
        bpf.Instruction(bpf.RET, _LAST_ERRNO) if values and one == bpf.Instruction(bpf.RET, stand_in) else one
        for one in program
    )


def _condition(test: Test, library: Any) -> Any:
    if test.op is Operator.EQ and test.mask != FULL:
        return library.Arg(test.arg, library.MASKED_EQ, test.mask, test.value)
    return library.Arg(test.arg, getattr(library, test.op.value.upper()), test.value)


def _exported(made: Any) -> bytes:
    descriptor = os.memfd_create("scmm-opinion")
    with os.fdopen(descriptor, "r+b") as file:
        made.export_bpf(file)
        # The library wrote through the descriptor, which has no buffer of ours.
        file.seek(0)
        return file.read()
