"""Values of arguments that were seen → constraints: an enumeration keeps its values, a word of flags its flags.

Called by policy.infer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from scmm_oci.capture.facts import ArgumentSet
from scmm_oci.capture.model import Capture, LossKind, Phase
from scmm_oci.errors import Finding
from scmm_oci.policy import constraints
from scmm_oci.policy.decisions import ArgumentRules, Decisions, Unseen
from scmm_oci.policy.infer import observe
from scmm_oci.policy.infer.calls import OLDER
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.policy.model import ArgType, Constraint
from scmm_oci.tables import arguments, syscalls
from scmm_oci.tables import words as word_tables
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.sensitive import SENSITIVE

# (call, index or two of them)
_Place = tuple[str, tuple[int, ...]]


def argument_rules(
    captures: Sequence[Capture], decisions: Decisions, findings: list[Finding]
) -> dict[str, tuple[tuple[Constraint, ...], ...]]:
    """Call → the constraints of its rules, one set for each rule; calls that are left open are not in it.

    An argument gets a rule only where every capture that holds the call has all of its values.
    """
    if decisions.arguments is ArgumentRules.NONE and not decisions.check:
        return {}
    sets: dict[_Place, dict[Arch, set[int]]] = defaultdict(lambda: defaultdict(set))
    opened: set[_Place] = set()
    unseen: dict[str, dict[Arch, set[int]]] = defaultdict(lambda: defaultdict(set))
    strange: set[_Place] = set()
    for capture in captures:
        for one in capture.arguments:
            name = _name(one)
            if name is None:
                continue
            if one.field is not None:
                if one.field == "flags":
                    unseen[name][one.arch].update(one.values)
                continue
            place = (name, one.indexes)
            if not _is_kept(one, name):
                strange.add(place)
                continue
            sets[place][one.arch].update(one.values)
            if one.open_ended:
                opened.add(place)
    for name, indexes in sorted(place for place in strange if _is_chosen(place, decisions)):
        what = f"argument {'/'.join(map(str, indexes))} of {name} has values in a capture, but is none that we know"
        findings.append(Finding("strange-argument", f"{what}: every value is allowed"))
    opened |= _unrecorded(captures, sets)
    chosen = {place: values for place, values in sets.items() if _is_chosen(place, decisions)}
    _look_older(chosen, unseen, decisions)
    for name, indexes in sorted(chosen.keys() & opened):
        what = f"argument {'/'.join(map(str, indexes))} of {name} was seen with more values than were kept"
        findings.append(Finding("open-ended", f"{what}: every value is allowed"))
    rules: dict[str, list[list[list[Constraint]]]] = defaultdict(list)
    for (name, indexes), values in sorted(chosen.items()):
        if (name, indexes) not in opened:
            if not any(values.values()):
                continue  # the call was not made
            rules[name].append(_pair(name, indexes, values) if len(indexes) == 2 else _one(name, indexes[0], values))
    if decisions.arguments is not ArgumentRules.NONE and decisions.unseen is Unseen.ALLOW:
        _tell_unseen(captures, findings)
    _, arches = observe.architectures(captures, [])
    return {name: tuple(_product(_common(name, parts, arches))) for name, parts in rules.items()}


def _common(name: str, parts: list[list[list[Constraint]]], arches: Sequence[Arch]) -> list[list[list[Constraint]]]:
    """The parts with numbers for the words that only some of the policy's ABIs know (PROT_BTI of aarch64)."""

    def common(word: str, arg: int) -> str:
        values = [constraints.value_of(name, arg, word, arch) for arch in arches]
        known = [value for value in values if value is not None]
        return hex(known[0]) if known and None in values else word

    return [
        [
            # A number may be there already, of the ABI that has no word for it.
            [
                replace(one, allowed=tuple(dict.fromkeys(common(word, one.arg) for word in one.allowed)))
                for one in choice
            ]
            for choice in part
        ]
        for part in parts
    ]


def _tell_unseen(captures: Sequence[Capture], findings: list[Finding]) -> None:
    made = {name_of(call) for capture in captures for _, call in capture.calls(Phase.APP) if call.entered}
    for newer, older in OLDER.items():
        if newer in made:
            message = f"{newer} has its flags in memory, where no filter sees them: all are allowed"
            hint = f"--unseen-arguments enosys has programs take {older}, whose flags are checked"
            findings.append(Finding("unseen-arguments", message, hint))


def _name(one: ArgumentSet) -> str | None:
    return one.name if one.name is not None else syscalls.name_of(one.arch, one.nr)


def _is_kept(one: ArgumentSet, name: str) -> bool:
    """Whether the values are of an argument that we know: a capture can be of a newer version, or made by hand."""
    return any(
        known.field is None and known.indexes == one.indexes for known in arguments.arguments(one.arch).get(name, ())
    )


def _is_chosen(place: _Place, decisions: Decisions) -> bool:
    name, indexes = place
    if any((name, index) in decisions.leave_open for index in indexes):
        return False
    if any((name, index) in decisions.check for index in indexes):
        return True
    if decisions.arguments is ArgumentRules.SENSITIVE:
        return len(indexes) == 1 and indexes[0] in SENSITIVE.get(name, ())
    return decisions.arguments is ArgumentRules.ALL


def _unrecorded(captures: Sequence[Capture], sets: Mapping[_Place, object]) -> set[_Place]:
    """Places that some capture with the call has no values of: it was not recorded there, or lost."""
    places: dict[str, list[_Place]] = defaultdict(list)
    for place in sets:
        places[place[0]].append(place)
    missing: set[_Place] = set()
    for capture in captures:
        have = {(one.arch, _name(one), one.indexes) for one in capture.arguments if one.values}
        lost = any(loss.kind is LossKind.ARGUMENTS for loss in capture.losses)
        for _, call in capture.calls(Phase.APP):
            if call.entered:
                here = places.get(name_of(call) or "", ())
                missing.update(place for place in here if lost or (call.arch, *place) not in have)
    return missing


def _look_older(
    chosen: dict[_Place, dict[Arch, set[int]]],
    unseen: Mapping[str, Mapping[Arch, set[int]]],
    decisions: Decisions,
) -> None:
    """Give the older call the flags that the newer one was seen with, as it will be made instead."""
    if decisions.unseen is not Unseen.ENOSYS:
        return
    for newer, older in OLDER.items():
        for arch, values in unseen.get(newer, {}).items():
            for argument in arguments.arguments(arch).get(older, ()):
                place = (older, argument.indexes)
                if argument.field is None and argument.kind == "flags" and _is_chosen(place, decisions):
                    # glibc's clone carries the signal in the flags, clone3 has a field for it.
                    extra = {0x11} if older == "clone" and any(not value & 0x10000 for value in values) else set()
                    here = chosen.setdefault(place, defaultdict(set))
                    here.setdefault(arch, set()).update(value & argument.mask & 0xFFFF_FFFF for value in values)
                    here[arch].update(extra)


def _one(name: str, index: int, values: Mapping[Arch, set[int]]) -> list[list[Constraint]]:
    """One choice for an argument; two for memory protection, where writing and executing were never seen together."""
    constraint = _single(name, index, values)
    both = {"PROT_WRITE", "PROT_EXEC"}
    apart = both <= set(constraint.allowed) and not any(
        both <= set(arguments.describe(argument, value, arch=arch).split("|"))
        for arch, numbers in values.items()
        for argument in arguments.arguments(arch)[name]
        if argument.indexes == (index,)
        for value in numbers
    )
    if not apart:
        return [[constraint]]
    return [
        [replace(constraint, allowed=tuple(word for word in constraint.allowed if word != without))]
        for without in ("PROT_EXEC", "PROT_WRITE")
    ]


def _single(name: str, index: int, values: Mapping[Arch, set[int]]) -> Constraint:
    words: dict[str, None] = {}
    kind = "enum"
    for arch in sorted(values):
        argument = next(one for one in arguments.arguments(arch)[name] if one.field is None and one.indexes == (index,))
        kind = argument.kind
        for value in sorted(values[arch]):
            text = arguments.describe(argument, value, arch=arch)
            words.update(dict.fromkeys(text.split("|") if kind == "flags" else [text]))
            if kind == "flags" and _lacks_number(argument, value, arch):
                words["0"] = None
    chosen = list(words)
    if kind == "flags" and len(chosen) > 1 and "0" in chosen and not _has_number(name, index, chosen, min(values)):
        chosen.remove("0")  # no flag at all is always among the flags
    return Constraint(index, ArgType.INTEGER if kind == "enum" else ArgType.FLAGS, allowed=tuple(chosen))


def _lacks_number(argument: arguments.Argument, value: int, arch: Arch) -> bool:
    """Whether the first number among the flags is 0 and that has no name: clone without a signal."""
    fields = word_tables.fields(argument.vocabulary, arch=arch)
    return (
        bool(fields) and not value & fields[0] and 0 not in word_tables.names(argument.vocabulary, arch=arch).values()
    )


def _has_number(name: str, index: int, words: Sequence[str], arch: Arch) -> bool:
    argument = constraints.argument_of(name, index, arch)
    fields = word_tables.fields(argument.vocabulary, arch=arch) if argument is not None else ()
    values = [constraints.value_of(name, index, word, arch) or 0 for word in words]
    return bool(fields) and any(value & fields[0] for value in values)


def _pair(name: str, indexes: tuple[int, ...], values: Mapping[Arch, set[int]]) -> list[list[Constraint]]:
    """One choice for each first value: it, and the second ones that were seen with it."""
    second: dict[str, dict[str, None]] = {}
    for arch in sorted(values):
        argument = next(one for one in arguments.arguments(arch)[name] if one.indexes == indexes)
        for value in sorted(values[arch]):
            level, _, option = arguments.describe(argument, value, arch=arch).partition(", ")
            second.setdefault(level, {})[option] = None
    return [
        [
            Constraint(indexes[0], ArgType.INTEGER, allowed=(level,)),
            Constraint(indexes[1], ArgType.INTEGER, allowed=tuple(options)),
        ]
        for level, options in second.items()
    ]


def _product(parts: Iterable[list[list[Constraint]]]) -> list[tuple[Constraint, ...]]:
    result: list[tuple[Constraint, ...]] = [()]
    for choices in parts:
        result = [(*before, *choice) for before in result for choice in choices]
    return [tuple(sorted(one, key=lambda constraint: constraint.arg)) for one in result]
