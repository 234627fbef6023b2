"""What a container's seccomp section answers to one use of a call, as far as it can be told. Pure.

How runtimes take rules that contradict was measured with runc 1.1.5 and crun 1.8.1 (libseccomp 2.5.4,
tests/runtime/test_launcher_admitted.py): the first rule without conditions counts, then those with conditions, then the
default; a rule with the default's action is left out. Standard library only: the shim calls this on container starts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALLOW = "SCMP_ACT_ALLOW"
PASS = (ALLOW, "SCMP_ACT_LOG")
_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_EPERM = 1

# A call is allowed; is refused by the default alone; by a rule for all of its uses; by a rule for some of them.
ALLOWED, MISSING, REFUSED, MAYBE = "allowed", "missing", "refused", "maybe"


class Section:
    """A seccomp section, read once: for each name its rules in order, less those that runtimes leave out."""

    def __init__(self, seccomp: object) -> None:
        if not isinstance(seccomp, dict):
            raise ValueError("linux.seccomp: not an object")
        self.default = _answer_of(seccomp, "defaultAction", "defaultErrnoRet", "linux.seccomp")
        self.plain: dict[str, str] = {}
        self.conditional: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {}
        for number, rule in enumerate(_list(seccomp, "syscalls", "linux.seccomp")):
            place = f"linux.seccomp.syscalls[{number}]"
            if not isinstance(rule, dict):
                raise ValueError(f"{place}: not an object")
            answer = _answer_of(rule, "action", "errnoRet", place)
            names, conditions = _list(rule, "names", place), _list(rule, "args", place)
            if not all(isinstance(name, str) for name in names):
                raise ValueError(f"{place}.names: not a list of strings")
            if not all(_is_condition(one) for one in conditions):
                raise ValueError(f"{place}.args: not a list of conditions with index, value and op")
            if answer == self.default:
                continue
            for name in names:
                if not conditions:
                    self.plain.setdefault(name, answer[0])
                else:
                    alternatives = self.conditional.setdefault(name, [])
                    alternatives += [(answer[0], one) for one in _alternatives(conditions)]

    def answer(self, name: str, argument: tuple[int, int] | None) -> str:
        """ALLOWED, MISSING, REFUSED or MAYBE: for uses with this index and value of an argument, or all (None)."""
        plain = self.plain.get(name)
        if plain is not None:
            return ALLOWED if plain in PASS else REFUSED
        rules = [
            (action in PASS, _holds(conditions, argument)) for action, conditions in self.conditional.get(name, ())
        ]
        if any(not passes and holds is not False for passes, holds in rules):
            # Of rules with conditions that hold at once, none is known to come first; and where the default refuses, a
            # rule without conditions would take the place of these.
            return MAYBE if self.default[0] in PASS or argument is not None else MISSING
        if self.default[0] in PASS or any(passes and holds for passes, holds in rules):
            return ALLOWED
        return MISSING


def _answer_of(owner: dict[str, Any], action: str, errno: str, place: str) -> tuple[str, object]:
    """Action and what it carries, EPERM where nothing is given: runtimes compare both with the default's."""
    name = owner.get(action)
    if not isinstance(name, str):
        raise ValueError(f"{place}.{action}: not a text")
    number = owner.get(errno)
    return name, (_EPERM if number is None else number) if name in _ERRNO else None


def _list(owner: dict[str, Any], key: str, place: str) -> list[Any]:
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{place}.{key}: not a list")
    return value


def _is_condition(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("op"), str)
        and all(_is_number(value.get(key, 0)) for key in ("index", "value", "valueTwo"))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _alternatives(conditions: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Runtimes take conditions on one argument for alternatives, and then all of the rule's conditions so."""
    indexes = [one.get("index", 0) for one in conditions]
    return [conditions] if len(set(indexes)) == len(indexes) else [[one] for one in conditions]


def _holds(conditions: list[dict[str, Any]], argument: tuple[int, int] | None) -> bool | None:
    """Whether conditions hold for the use of the call; None where that is not known."""
    certain = True
    for one in conditions:
        holds = _compare(one, argument[1]) if argument and argument[0] == one.get("index", 0) else None
        if holds is False:
            return False
        certain = certain and holds is True
    return True if certain else None


def _compare(condition: dict[str, Any], value: int) -> bool | None:
    """seccomp_rule_add(3). None: an operator that is not known."""
    other, second = condition.get("value", 0), condition.get("valueTwo", 0)
    return {
        "SCMP_CMP_EQ": value == other,
        "SCMP_CMP_NE": value != other,
        "SCMP_CMP_LT": value < other,
        "SCMP_CMP_LE": value <= other,
        "SCMP_CMP_GE": value >= other,
        "SCMP_CMP_GT": value > other,
        "SCMP_CMP_MASKED_EQ": value & other == second,
    }.get(condition["op"])
