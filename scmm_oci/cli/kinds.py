"""What a file is that a verb could not read as what it takes: one sentence in place of a list of unknown keys.

Asked only when reading has failed, so that a file is never refused for what it looks like.
"""

from __future__ import annotations

import re
from enum import StrEnum

from scmm_oci.errors import BadInput, Problem

_CAPTURE = re.compile(rb'\s*\{.*"format"\s*:\s*"scmm-capture', re.DOTALL)
_PROFILE = re.compile(rb'\s*\{.*"defaultAction"', re.DOTALL)
_OBJECT = re.compile(rb"^kind:\s*SeccompProfile\b", re.MULTILINE)
_DROP_IN = re.compile(rb"^\[Service\]\s*$", re.MULTILINE)
_POLICY = re.compile(rb"^(?:version|metadata|settings|syscalls|filesystem)\s*:", re.MULTILINE)


class Kind(StrEnum):
    """What is in a file, in the words that messages have for it."""

    CAPTURE = "a capture"
    POLICY = "a policy"
    PROFILE = "a seccomp profile"
    COMPILED = "a compiled policy"
    OBJECT = "a SeccompProfile object"
    DROP_IN = "a unit of systemd"


# (what was wanted, what it is) → the way out.
_INSTEAD = {
    (Kind.POLICY, Kind.CAPTURE): "make a policy of it first: `scmm extract`",
    (Kind.POLICY, Kind.PROFILE): "make a policy of it first: `scmm import-profile`",
    (Kind.CAPTURE, Kind.POLICY): "`scmm lint`, `scmm explain` and `scmm verify` look into policies",
    (Kind.CAPTURE, Kind.PROFILE): "`scmm explain` and `scmm disasm` look into profiles",
    (Kind.PROFILE, Kind.POLICY): "`scmm compile` makes a profile of it",
    (Kind.PROFILE, Kind.CAPTURE): "`scmm extract` makes a policy and a profile of it",
}
_OTHERWISE = {
    Kind.POLICY: "give the policy that it was made of",
    Kind.CAPTURE: "captures are what `scmm record` and the hooks write",
    Kind.PROFILE: "profiles are JSON, with a defaultAction",
}


def is_capture(data: bytes) -> bool:
    """Whether it is a capture or a set of them."""
    return _CAPTURE.match(data) is not None


def is_profile(data: bytes) -> bool:
    """Whether it is a seccomp profile in JSON, of the runtime-spec or an engine."""
    return _PROFILE.match(data) is not None


def kind_of(data: bytes) -> Kind | None:
    """What a file seems to be; None if it is nothing that we know."""
    from scmm_oci.compiled.polfile.layout import is_compiled

    if is_compiled(data):
        return Kind.COMPILED
    if is_capture(data):
        return Kind.CAPTURE
    if is_profile(data):
        return Kind.PROFILE
    for kind, pattern in ((Kind.OBJECT, _OBJECT), (Kind.DROP_IN, _DROP_IN), (Kind.POLICY, _POLICY)):
        if pattern.search(data):
            return kind
    return None


def problems(error: BadInput, path: str, data: bytes | None, *, wanted: Kind) -> list[Problem]:
    """What to say of a file that could not be read: that it is another kind of file, or all that is wrong with it.

    Args:
        error: what reading it said.
        data: its bytes; None if there are none to be had.
        wanted: POLICY, CAPTURE or PROFILE.
    """
    if data is not None and not data.strip():
        return [Problem(path, f"is empty, and no {wanted.removeprefix('a ')}")]
    found = kind_of(data) if data is not None else None
    if found is not None and found is not wanted:
        hint = _INSTEAD.get((wanted, found), _OTHERWISE[wanted])
        return [Problem(path, f"is {found}, not {wanted}", hint)]
    return [Problem(f"{path}: {one.place}" if one.place else path, one.message, one.hint) for one in error.problems]
