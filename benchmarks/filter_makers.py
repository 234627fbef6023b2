"""What makes a filter of a profile: our generator, and libseccomp as runc asks it, in list form and as a tree.

What runc does: libcontainer/seccomp/seccomp_linux.go (rules that do what the default does are skipped, names that the
library lacks are ignored, two conditions on one argument are alternatives).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from rig.process import RigError
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Program
from scmm_oci.compiled.filter import build, of_profile, returned_by
from scmm_oci.oci.seccomp import Operator, Profile

# SCMP_FLTATR_CTL_OPTIMIZE and its values (seccomp_attr_set(3)): by priority, as a binary tree.
_OPTIMIZE = 8


class Maker(StrEnum):
    """Who makes the filter."""

    OURS = "ours"
    LIST = "list"
    TREE = "tree"


TITLES = {Maker.OURS: "ours", Maker.LIST: "libseccomp list", Maker.TREE: "libseccomp tree"}


@dataclass(frozen=True)
class Input:
    """A profile, and how often each call was seen in the recording that it was made of."""

    profile: Profile
    counts: Mapping[str, int]


def unavailable() -> str | None:
    """Why libseccomp cannot be asked, or None."""
    try:
        _library()
    except RigError as error:
        return str(error)
    return None


def make(maker: Maker, given: Input) -> Program:
    """The filter of a profile."""
    if maker is Maker.OURS:
        return build(of_profile(given.profile, counts=given.counts))
    return bpf.decode(libseccomp(given.profile, 1 if maker is Maker.LIST else 2))


def libseccomp(profile: Profile, optimize: int) -> bytes:
    """The library's filter, as runc has it made of a profile."""
    library = _library()
    default = returned_by(profile.default_action, profile.default_errno)
    made = library.SyscallFilter(default)
    made.set_attr(_OPTIMIZE, optimize)
    for name in profile.architectures:
        token = getattr(library.Arch, name.removeprefix("SCMP_ARCH_"))
        if not made.exist_arch(token):
            made.add_arch(token)
    for rule in profile.syscalls:
        value = returned_by(rule.action, rule.errno)
        if value == default:
            continue
        for name in rule.names:
            if not knows(name):
                continue
            for way in rule.alternatives():
                conditions = [_condition(one.index, one.op, one.value, one.value_two, library) for one in way]
                made.add_rule(value, name, *conditions)
    with os.fdopen(os.memfd_create("filter"), "r+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


@cache
def knows(name: str) -> bool:
    """Whether the library has a call of that name."""
    library = _library()
    return bool(library.resolve_syscall(library.Arch.NATIVE, name) != -1)


def known(profile: Profile) -> Profile:
    """The profile without the names that the library lacks, so that all makers are given the same."""
    rules = (replace(rule, names=tuple(name for name in rule.names if knows(name))) for rule in profile.syscalls)
    return replace(profile, syscalls=tuple(rule for rule in rules if rule.names))


def timed(maker: Maker, given: Input, clock: Callable[[], float]) -> float:
    """Seconds that making the filter takes, in this process."""
    began = clock()
    make(maker, given)
    return clock() - began


def _condition(index: int, op: Operator, value: int, value_two: int, library: Any) -> Any:
    word = getattr(library, op.removeprefix("SCMP_CMP_"))
    return library.Arg(index, word, value, value_two)


@cache
def _library() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        raise RigError(f"libseccomp cannot be asked: {error} (pip install pyseccomp, Debian's libseccomp2)") from None
    return pyseccomp
