"""What a person decides when a policy is made of captures: every choice of ``scmm extract``, as one frozen value.

Flags and the interview both make a Decisions; inference reads nothing else. As plain values (:func:`to_document`,
:func:`from_document`) it is what an interrupted interview keeps for ``--resume``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.policy.model import Action, OnMissing, Protocol, WatchAction
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.categories import Category

DIRECTIONS = ("inbound", "outbound")
DEPTHS = (2, 3)
# Decisions about transitions: without these they have no effect.
ORDER = ("refine", "depth", "serving_from", "watch", "likely")


class CategoryChoice(StrEnum):
    """What becomes of the calls of a category that were seen."""

    ALLOW = "allow"
    TOP = "top"
    REVIEW = "review"
    DENY = "deny"


class ArgumentRules(StrEnum):
    """Which arguments get rules: none, those that decide whether a call is dangerous, or all that were recorded."""

    NONE = "none"
    SENSITIVE = "sensitive"
    ALL = "all"


class Unseen(StrEnum):
    """What becomes of calls whose arguments a filter cannot see (clone3, openat2).

    With ``enosys`` they are answered so, and C libraries take the older call, whose arguments a filter sees.
    """

    ALLOW = "allow"
    ENOSYS = "enosys"


class Generalise(StrEnum):
    """Whether patterns are taken without a question where the evidence is strong."""

    EVIDENCE = "evidence"
    NONE = "none"


class CreatedFiles(StrEnum):
    """How files that the program makes are granted where no pattern stands for them.

    ``auto`` makes beforehand what has a fixed name and can be made so, and grants the directory for the rest.
    """

    AUTO = "auto"
    PRECREATE = "precreate"
    PARENTDIR = "parentdir"
    SKIP = "skip"


class Addresses(StrEnum):
    """Which peers a network rule names: any, or those that were seen."""

    ANY = "any"
    OBSERVED = "observed"


@dataclass(frozen=True)
class Decisions:
    """Every choice, with the defaults that ``--non-interactive`` takes.

    Attributes:
        categories: choice by category; those that are not here are allowed. ``top`` says how many calls TOP keeps.
        calls: action by call name, over what its category says. TOP and REVIEW leave the others denied.
        check: arguments that get a rule whatever ``arguments`` says, as (call, index); ``leave_open``: that get none.
        accept: patterns that are taken, and are an explicit yes for protected roots; ``reject``: that are not.
        files, network: whether the policy speaks of them at all.
        ports: (direction, protocol, port) of network rules that are left out.
        capabilities: whether it names capabilities.
        transitions: whether it says which call may follow which. Only then matter: ``refine``, whether classes of
            calls and beginnings are told apart; ``depth``, how many calls a history has, 2 or 3; ``serving_from``, the
            calls with which another machine begins to hold; ``watch``, what happens at others; ``likely``, in how many
            recordings there must be evidence for what none has, for it to be allowed (0: it is not).
    """

    name: str | None = None
    default_action: Action = Action.DENY
    default_errno: str = "EPERM"
    accept_incomplete: bool = False
    categories: Mapping[Category, CategoryChoice] = field(default_factory=dict)
    top: int = 10
    calls: Mapping[str, Action] = field(default_factory=dict)
    arguments: ArgumentRules = ArgumentRules.SENSITIVE
    check: frozenset[tuple[str, int]] = frozenset()
    leave_open: frozenset[tuple[str, int]] = frozenset()
    unseen: Unseen = Unseen.ALLOW
    portable: bool = False
    files: bool = True
    generalise: Generalise = Generalise.EVIDENCE
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    missing_files: OnMissing = OnMissing.SKIP
    created_files: CreatedFiles = CreatedFiles.AUTO
    home: str | None = None
    network: bool = True
    addresses: Addresses = Addresses.ANY
    ports: frozenset[tuple[str, str, int]] = frozenset()
    capabilities: bool = True
    transitions: bool = False
    refine: bool = False
    depth: int = 2
    serving_from: tuple[str, ...] = ()
    watch: WatchAction | None = None
    likely: int = 0

    def changed(self, **changes: Any) -> Decisions:
        """The same with other values for some."""
        return replace(self, **changes)


def check(decisions: Decisions) -> None:
    """Raises BadInput with all in the decisions that names nothing: calls, arguments, errnos, ports, patterns."""
    found: list[Problem] = []
    known = syscalls.all_names()
    if errnos.number(decisions.default_errno) is None:
        found.append(errnos.unknown("default_errno", decisions.default_errno))
    if decisions.default_action is Action.NOTIFY:
        found.append(Problem("default_action", "notify cannot be the default: runtimes refuse it"))
    if decisions.depth not in DEPTHS:
        found.append(unknown_value("depth", "a depth", decisions.depth, [*map(str, DEPTHS)]))
    named = [("calls", name) for name in decisions.calls]
    named += [("serving_from", name) for name in decisions.serving_from]
    named += [("check", name) for name, _ in sorted(decisions.check)]
    named += [("leave_open", name) for name, _ in sorted(decisions.leave_open)]
    found += [unknown_value(place, "a system call", name, sorted(known)) for place, name in named if name not in known]
    for place, index in [
        *(("check", index) for _, index in sorted(decisions.check)),
        *(("leave_open", index) for _, index in sorted(decisions.leave_open)),
    ]:
        if not 0 <= index <= 5:
            found.append(Problem(place, f"argument {index}: calls have the arguments 0 to 5"))
    for direction, protocol, port in sorted(decisions.ports):
        if direction not in DIRECTIONS:
            found.append(unknown_value("ports", "a direction", direction, DIRECTIONS))
        if protocol not in list(Protocol):
            found.append(unknown_value("ports", "a protocol", protocol, list(Protocol)))
        if not 0 <= port <= 65535:
            found.append(Problem("ports", f"{port} is not a port from 0 to 65535"))
    for place, texts in (("accept", decisions.accept), ("reject", decisions.reject)):
        for text in texts:
            try:
                Pattern.parse(text)
            except BadInput as error:
                found += [Problem(f"{place} {short(text)}", one.message, one.hint) for one in error.problems]
    if found:
        raise BadInput(found)


def to_document(decisions: Decisions) -> dict[str, Any]:
    """The decisions as plain JSON values; those that are the defaults are left out."""
    result: dict[str, Any] = {}
    usual = Decisions()
    for one in fields(Decisions):
        value = getattr(decisions, one.name)
        if value == getattr(usual, one.name):
            continue
        if isinstance(value, Mapping):
            result[one.name] = {str(key): str(item) for key, item in sorted(value.items())}
        elif isinstance(value, frozenset):
            result[one.name] = [list(item) for item in sorted(value)]
        elif isinstance(value, tuple):
            result[one.name] = list(value)
        else:
            result[one.name] = value.value if isinstance(value, StrEnum) else value
    return result


_WORDS: dict[str, type[StrEnum]] = {
    "default_action": Action,
    "arguments": ArgumentRules,
    "unseen": Unseen,
    "generalise": Generalise,
    "missing_files": OnMissing,
    "created_files": CreatedFiles,
    "addresses": Addresses,
    "watch": WatchAction,
}


def from_document(document: object, *, source: str = "") -> Decisions:
    """What :func:`to_document` has written.

    Raises:
        BadInput: it is not that; with everything that is wrong.
    """
    if not isinstance(document, dict):
        raise BadInput([Problem("", "holds no decisions")], source=source)
    found: list[Problem] = []
    values: dict[str, Any] = {}
    known = {one.name: one for one in fields(Decisions)}
    for key, value in document.items():
        if key not in known:
            found.append(unknown_value(str(key), "a decision", key, sorted(known)))
            continue
        try:
            values[key] = _value(key, value)
        except (ValueError, TypeError, AttributeError):
            found.append(Problem(key, f"{short(value)} is no value for it"))
    if found:
        raise BadInput(found, source=source)
    decisions = Decisions(**values)
    check(decisions)
    return decisions


def _value(key: str, value: Any) -> Any:
    usual = getattr(Decisions(), key)
    if key in _WORDS:
        return _WORDS[key](value)
    if key == "categories":
        return {Category(name): CategoryChoice(choice) for name, choice in value.items()}
    if key == "calls":
        return {str(name): Action(action) for name, action in value.items()}
    if key in ("check", "leave_open"):
        return frozenset((str(name), _whole(index)) for name, index in value)
    if key == "ports":
        return frozenset((str(direction), str(protocol), _whole(port)) for direction, protocol, port in value)
    if isinstance(usual, tuple):
        if isinstance(value, str):
            raise TypeError
        return tuple(_text(item) for item in value)
    if isinstance(usual, bool):
        if not isinstance(value, bool):
            raise TypeError
        return value
    return _whole(value) if isinstance(usual, int) else _text(value)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
