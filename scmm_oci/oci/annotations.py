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
WATCH = "scmm.watch"
DEPTH = "scmm.depth"
KNOWN = (RECORD, NAME, POLICY, MODE, WATCH, DEPTH)

# How many calls that followed one another a recording keeps.
DEPTHS = ("2", "3")

MODES = ("standard", "strict", "seccomp", "permissive", "ask")
# Of scmm.mode alone: the policy is watched by, and not enforced.
WATCHED = "watch"
# policy.model.WatchAction; where no watch can begin, the container does not start under those of CLOSED.
ACTIONS = ("count", "alert", "freeze", "kill")
CLOSED = ("freeze", "kill")

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 128
# What is_capture_name asks for, in words: names of captures, of policies and of runtimes.
NAME_RULE = f"1 to {MAX_NAME} letters, digits, '_', '.', '-', beginning with a letter, a digit or '_'"
_HEXADECIMAL = frozenset("0123456789abcdef")
_DIGITS = 64  # of a SHA-256


class Wish:
    """What the annotations ask for: `record` at all, `required` (fail the container otherwise), capture `name`, `depth`
    of the order of calls (2 or 3).

    `problems` says what is wrong with them; a name or depth that cannot be used gives way to the default.
    """

    __slots__ = ("depth", "name", "problems", "record", "required")

    def __init__(self, *, record: bool, required: bool, name: str, depth: int, problems: list[str]) -> None:
        self.record = record
        self.required = required
        self.name = name
        self.depth = depth
        self.problems = problems


class Watching:
    """What the annotations ask of a watch.

    Attributes:
        is_asked: whether they ask for one at all.
        action: of ACTIONS; policy: its name in the store; digest: its SHA-256 in hexadecimal digits, or None for any.
            Only where there are no problems.
        is_closed: the container is not to start without it.
        problems: all that is wrong with them.
    """

    __slots__ = ("action", "digest", "is_asked", "is_closed", "policy", "problems")

    def __init__(self) -> None:
        self.is_asked = False
        self.action = ""
        self.policy = ""
        self.digest: str | None = None
        self.is_closed = False
        self.problems: list[str] = []


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


def watching(annotations: Mapping[str, str]) -> Watching:
    """What `annotations` ask of a watch. One with an action that is not known may have been to kill: with a policy
    named, nothing starts then.
    """
    result = Watching()
    action, policy = annotations.get(WATCH), annotations.get(POLICY)
    if action is None:
        return result
    result.is_asked = True
    result.action = action
    result.is_closed = action in CLOSED
    if action not in ACTIONS:
        result.problems.append(unknown_action(WATCH, action))
        result.is_closed = policy is not None
    if policy is None:
        result.problems.append(f"no policy is named to watch by: give {POLICY}=NAME")
        return result
    try:
        result.policy, result.digest = parse_policy(policy)
    except ValueError as error:
        result.problems.append(f"{POLICY}={error}")
    return result


def unknown_action(key: str, value: str) -> str:
    return f"{key}={shown(value)} (known values: {', '.join(ACTIONS)})"


def unknown_depth(key: str, value: str) -> str:
    return f"{key}={shown(value)} (known values: {', '.join(DEPTHS)})"


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
    depth = annotations.get(DEPTH, DEPTHS[0])
    if depth not in DEPTHS:
        problems.append(unknown_depth(DEPTH, depth))
        depth = DEPTHS[0]
    for key in sorted(annotations):
        if key.startswith("scmm.") and key not in KNOWN:
            problems.append(f"{shown(key)} (known annotations: {', '.join(KNOWN)})")
    return Wish(
        record=record in ("true", "required"),
        required=record == "required",
        name=name,
        depth=int(depth),
        problems=problems,
    )
