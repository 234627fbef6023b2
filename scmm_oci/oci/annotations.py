"""The annotations users set on a container, and what they may say. Standard library only (hook)."""

from __future__ import annotations

from scmm_oci.oci.state import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD = "scmm.record"
NAME = "scmm.name"
POLICY = "scmm.policy"
MODE = "scmm.mode"
KNOWN = (RECORD, NAME, POLICY, MODE)

MODES = ("standard", "strict", "seccomp", "permissive")

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 128
_HEXADECIMAL = frozenset("0123456789abcdef")
_DIGITS = 64  # of a SHA-256


class Wish:
    """What the annotations ask for: `record` at all, `required` (fail the container otherwise), capture `name`.

    `problems` says what is wrong with them; a name that cannot be used gives way to the default.
    """

    __slots__ = ("name", "problems", "record", "required")

    def __init__(self, *, record: bool, required: bool, name: str, problems: list[str]) -> None:
        self.record = record
        self.required = required
        self.name = name
        self.problems = problems


def is_capture_name(value: str) -> bool:
    """One path component that sorts and types well: letters, digits, `_`, `.`, `-`; no leading dot or dash."""
    return 0 < len(value) <= MAX_NAME and value[0] not in ".-" and _NAME_CHARACTERS.issuperset(value)


def is_required(annotations: Mapping[str, str]) -> bool:
    return annotations.get(RECORD) == "required"


def parse_policy(value: str) -> tuple[str, str | None]:
    """The name in the policy store and the digest that `NAME[@sha256:HEX]` asks for; the digest in small letters.

    Raises ValueError, with what is wrong.
    """
    name, at, digest = value.partition("@")
    if not is_capture_name(name):
        raise ValueError(
            f"{shown(value)}: a policy's name is 1 to {MAX_NAME} letters, digits, '_', '.', '-', beginning with a "
            "letter, a digit or '_'; a digest may follow: NAME@sha256:HEX"
        )
    if not at:
        return name, None
    kind, _, text = digest.partition(":")
    text = text.lower()
    if kind != "sha256" or len(text) != _DIGITS or not _HEXADECIMAL.issuperset(text):
        raise ValueError(f"{shown(value)}: after the '@', 'sha256:' and {_DIGITS} hexadecimal digits are expected")
    return name, text


def read(annotations: Mapping[str, str], *, default_name: str) -> Wish:
    """What `annotations` ask for; capture `default_name` where they give no usable one."""
    problems = []
    record = annotations.get(RECORD, "false")
    if record not in ("true", "false", "required"):
        problems.append(f"{RECORD}={shown(record)} (known values: true, required, false)")
    name = annotations.get(NAME, default_name)
    if not is_capture_name(name):
        problems.append(
            f"{NAME}={shown(name)} (a capture name is 1 to {MAX_NAME} letters, digits, '_', '.', '-', "
            "beginning with a letter, a digit or '_')"
        )
        name = default_name
    for key in sorted(annotations):
        if key.startswith("scmm.") and key not in KNOWN:
            problems.append(f"{shown(key)} (known annotations: {', '.join(KNOWN)})")
    return Wish(record=record in ("true", "required"), required=record == "required", name=name, problems=problems)
