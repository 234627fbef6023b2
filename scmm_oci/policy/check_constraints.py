"""Check the constraints of a policy's rules: that words are values of the argument, and that one can be tested.

Called by policy.check only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.policy import constraints
from scmm_oci.schema import Found, Steps
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_SETS = ("match", "allowed", "denied")


def check_constraint(constraint: dict[str, Any], call: str, arches: list[Arch], path: Steps) -> Iterator[Found]:
    """Everything wrong with one constraint of a rule for ``call``; keys may be missing, items of lists None."""
    arg, kind = constraint.get("arg"), constraint.get("type")
    if arg is None or kind is None or not (call.startswith("@") or any(call in syscalls.numbers(a) for a in arches)):
        return  # told already
    number = int(arg)
    if call.startswith("@"):
        yield _bad(path, f"{call} is a group, whose calls have different arguments", "name the calls")
        return
    if kind in ("integer", "flags") and all(constraints.is_structure(call, number, arch) for arch in arches):
        yield _bad(
            (*path, "arg"),
            f"argument {arg} of {call} is the address of a structure, which no filter can read",
            "answer ENOSYS, and programs take the older call, whose arguments a filter sees",
        )
        return
    yield from _shape(constraint, kind, path)
    for key in ("allowed", "denied"):
        for index, word in enumerate(constraint.get(key, ())):
            if word is not None and kind in ("integer", "flags"):
                yield from _word(word, call, number, arches, (*path, key, index), narrow=True)
    for index, match in enumerate(constraint.get("match", ())):
        pattern = (match or {}).get("pattern")
        exact = (match or {}).get("type", "exact") == "exact"
        if pattern is not None and kind in ("integer", "flags") and exact:
            yield from _word(pattern, call, number, arches, (*path, "match", index, "pattern"), narrow=True)
    for key in ("value", "mask"):
        if constraint.get(key) is not None:
            yield from _word(constraint[key], call, number, arches, (*path, key))
    yield from _never(constraint, call, number, arches, path)


def _shape(constraint: dict[str, Any], kind: str, path: Steps) -> Iterator[Found]:
    sets = [key for key in _SETS if constraint.get(key)]
    op = constraint.get("op")
    if op is None:
        for key in ("value", "mask"):
            if key in constraint:
                yield _bad((*path, key), "goes with op")
        if not sets:
            yield _bad(path, "constrains nothing", "give match, allowed or denied, or op with value")
        return
    for key in sets:
        yield _bad((*path, key), "does not go with op", "write two constraints")
    if kind not in ("integer", "flags"):
        yield _bad((*path, "op"), f"a filter cannot compare a {kind}, only its address")
    if "value" not in constraint:
        yield _bad(path, f"{op} needs a value")
    if (op == "masked_eq") != ("mask" in constraint):
        yield _bad(path, "masked_eq needs a mask" if op == "masked_eq" else f"{op} takes no mask")


def _word(
    word: int | str, call: str, arg: int, arches: list[Arch], path: Steps, *, narrow: bool = False
) -> Iterator[Found]:
    fitting = [arch for arch in arches if constraints.value_of(call, arg, word, arch) is not None]
    if fitting == arches:
        if narrow and any(constraints.is_too_wide(call, arg, word, arch) for arch in arches):
            hint = "to compare all 64, write op"
            bits = constraints.width(call, arg, arches[0]).bit_length()
            yield _bad(path, f"{short(word)} has more than the {bits} bits that the kernel takes of it", hint)
        return
    if fitting:
        rest = ", ".join(arch for arch in arches if arch not in fitting)
        yield _bad(path, f"{short(word)} is no value of argument {arg} of {call} on {rest}")
        return
    known = constraints.known_words(call, arg, arches[0])
    yield Found(path, unknown_value("", f"a value of argument {arg} of {call}, nor a number", word, known))


def _never(constraint: dict[str, Any], call: str, arg: int, arches: list[Arch], path: Steps) -> Iterator[Found]:
    """A masked comparison that no argument can pass."""
    if constraint.get("op") != "masked_eq" or "value" not in constraint or "mask" not in constraint:
        return
    value = constraints.value_of(call, arg, constraint["value"], arches[0])
    mask = constraints.value_of(call, arg, constraint["mask"], arches[0])
    if value is not None and mask is not None and value & ~mask:
        yield _bad((*path, "value"), f"no argument passes: {value & ~mask:#x} lies outside of the mask")


def _bad(path: Steps, message: str, hint: str = "") -> Found:
    return Found(path, Problem("", message, hint))
