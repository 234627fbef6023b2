"""The annotations users set on a container, and what they may say. Standard library only (hook)."""

from __future__ import annotations

from scmm_oci.oci.state import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD = "scmm.record"
NAME = "scmm.name"

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 128


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
        if key.startswith("scmm.") and key not in (RECORD, NAME):
            problems.append(f"{shown(key)} (known annotations: {RECORD}, {NAME})")
    return Wish(record=record in ("true", "required"), required=record == "required", name=name, problems=problems)
