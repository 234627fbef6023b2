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

MODES = ("standard", "strict", "seccomp", "permissive", "ask")

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 128
# What is_capture_name asks for, in words: names of captures, of policies and of runtimes.
NAME_RULE = f"1 to {MAX_NAME} letters, digits, '_', '.', '-', beginning with a letter, a digit or '_'"
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

    Raises ValueError, with all that is wrong.
    """
    name, at, digest = value.partition("@")
    kind, _, text = digest.partition(":")
    text = text.lower()
    found = []
    if not is_capture_name(name):
        found.append(f"a policy's name is {NAME_RULE}, and a digest may follow: NAME@sha256:HEX")
    if at and (kind != "sha256" or not is_digest(text)):
        found.append(f"after the '@', 'sha256:' and {_DIGITS} hexadecimal digits are expected")
    if found:
        raise ValueError(f"{shown(value)}: {'; '.join(found)}")
    return name, text if at else None


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 as we write it: hexadecimal digits in small letters."""
    return len(text) == _DIGITS and _HEXADECIMAL.issuperset(text)


def read(annotations: Mapping[str, str], *, default_name: str) -> Wish:
    """What `annotations` ask for; capture `default_name` where they give no usable one."""
    problems = []
    record = annotations.get(RECORD, "false")
    if record not in ("true", "false", "required"):
        problems.append(f"{RECORD}={shown(record)} (known values: true, required, false)")
    name = annotations.get(NAME, default_name)
    if not is_capture_name(name):
        problems.append(f"{NAME}={shown(name)} (a capture name is {NAME_RULE})")
        name = default_name
    for key in sorted(annotations):
        if key.startswith("scmm.") and key not in KNOWN:
            problems.append(f"{shown(key)} (known annotations: {', '.join(KNOWN)})")
    return Wish(record=record in ("true", "required"), required=record == "required", name=name, problems=problems)
