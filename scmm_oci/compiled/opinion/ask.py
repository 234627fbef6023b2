"""What libseccomp returns for a call, of all that a policy or profile says.

What the library can be told goes into one filter, with the real default and for all ABIs at once. It has neither
precedence nor rules that differ between ABIs. So names that need these have filters beside that: one for each answer,
which only tells whether a rule with that answer holds; precedence is then applied to what they tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from scmm_oci.compiled import bpf, simulate
from scmm_oci.compiled.bpf import WORD, Call, Program
from scmm_oci.compiled.opinion import libseccomp
from scmm_oci.compiled.opinion.libseccomp import LibraryRule
from scmm_oci.compiled.opinion.reading import NARROW, Reading, Said, narrowed
from scmm_oci.policy.constraints import FULL, Alternative, Test
from scmm_oci.policy.model import Operator
from scmm_oci.tables import multiplexed, syscalls
from scmm_oci.tables.arch import Arch

# What kernels take of the argument that selects what a multiplexer does; the library compares all of it.
_SELECTED = {"socketcall": WORD, "ipc": 0xFFFF}

# Ways in one filter, of one test and of several. 2.5.4 joins a rule's conditions with those of all rules before it in
# time that multiplies with each: a handful of comparisons of two arguments can take it minutes.
_MOST_WAYS, _MOST_WIDE_WAYS = 6, 2

# Ways of one name beyond these take it minutes in parts too: it is not asked about such calls.
_MOST_ASKED = 200

_Key = tuple[Arch, str]


@dataclass(frozen=True)
class _Level:
    """Filters that tell whether a rule with this value holds: of one set, every filter returns it."""

    value: int
    sets: tuple[tuple[Program, ...], ...]

    def holds(self, words: Sequence[int]) -> bool:
        return any(all(simulate.run(one, words).value == self.value for one in these) for these in self.sets)


class Library:
    """The library's opinion on a reading.

    Attributes:
        unknown: names with rules that the library does not have, by ABI.
        multiplexers: those that the library answers otherwise than a policy does: by the conditions of their members.
    """

    def __init__(self, reading: Reading) -> None:
        """Raises Failure if the library is not there."""
        self._reading = reading
        self._beside: dict[_Key, Program] = {}
        self._levels: dict[_Key, tuple[_Level, ...]] = {}
        self._parts: dict[_Key, tuple[_Level, ...]] = {}
        self._unasked = {
            (arch, name)
            for arch, names in reading.names.items()
            for name, said in names.items()
            if len(said.ways) > _MOST_ASKED or not all(_is_plain(way) for _, way in said.ways)
        }
        shared: dict[str, list[LibraryRule]] = {}
        unknown: list[_Key] = []
        for name in sorted(set[str]().union(*reading.own.values())):
            told = {
                arch: _rules(name, reading, arch)
                for arch in reading.arches
                if _has(arch, name, reading) and (arch, name) not in self._unasked
            }
            unknown += [(arch, name) for arch in told if not libseccomp.knows(arch, name)]
            first = next(iter(told.values()), [])
            alike = all(rules == first and (arch, name) not in unknown for arch, rules in told.items())
            limited = first is not None and any(rule.tests for rule in first)
            if first is not None and alike and not (limited and any(_is_member(arch, name) for arch in told)):
                shared[name] = first
            else:
                for arch, rules in told.items():
                    self._ask_beside(arch, name, rules, known=(arch, name) not in unknown)
        self.unknown = tuple(key for key in unknown if key not in self._beside and key not in self._levels)
        self.multiplexers = tuple(
            (arch, name)
            for arch in reading.arches
            for name, members in multiplexed.multiplexers(arch).items()
            if not self._is_alike(arch, name, members, shared)
        )
        rules = [rule for these in shared.values() for rule in these]
        self._main = libseccomp.make(reading.arches, rules, default=reading.default, bad_arch=reading.bad_arch)

    def of(self, call: Call, words: Sequence[int]) -> int | None:
        """What the library returns for a call (and its words); None where it cannot be asked about it."""
        arch = self._reading.abi_of(call)
        name = syscalls.name_of(arch, call.nr) if arch is not None else None
        if arch is None or name is None:
            return simulate.run(self._main, words).value
        said = self._reading.names[arch].get(name)
        if said is None:
            # Of a name that it has no rule for, the library may still be told by a multiplexer's members.
            key = (arch, name)
            return None if key in self.multiplexers else simulate.run(self._main, words).value
        if not self._can_be_asked(arch, name, said, call.args):
            return None
        levels = self._levels.get((arch, name))
        if levels is not None:
            return _decided(said, levels, words)
        return simulate.run(self._beside.get((arch, name), self._main), words).value

    def of_parts(self, call: Call, words: Sequence[int]) -> int | None:
        """The same with each way in which a rule holds in a filter of its own, so that the library joins nothing."""
        arch = self._reading.abi_of(call)
        name = syscalls.name_of(arch, call.nr) if arch is not None else None
        said = self._reading.names[arch].get(name) if arch is not None and name is not None else None
        if arch is None or name is None or said is None or (arch, name) in {*self.unknown, *self._unasked}:
            return None
        if (arch, name) not in self._parts:
            self._parts[arch, name] = _levels(arch, name, said, joined=False)
        return _decided(said, self._parts[arch, name], words)

    def _can_be_asked(self, arch: Arch, name: str, said: Said, args: Sequence[int]) -> bool:
        if (arch, name) in self.unknown or (arch, name) in self.multiplexers or (arch, name) in self._unasked:
            return False
        if name in _SELECTED and name not in self._reading.own[arch]:
            return not args or args[0] <= _SELECTED[name]
        # To the library arguments of x32 have no high words; the kernel shows them.
        return arch is not Arch.X32 or not said.ways or max(args, default=0) <= WORD

    def _ask_beside(self, arch: Arch, name: str, rules: list[LibraryRule] | None, *, known: bool) -> None:
        number = syscalls.number_of(arch, name)
        if number is None or (not known and not libseccomp.is_native(arch)):
            return
        # Conditions of a multiplexer's member are alike to the library when they differ in what it replaces by the
        # number: then it refuses the second (EEXIST), for the call itself too.
        limited = rules is None or any(rule.tests for rule in rules)
        member = limited and _is_member(arch, name)
        if rules is None or member:
            said = self._reading.names[arch][name]
            self._levels[arch, name] = _levels(arch, name, said, joined=not member)
            return
        by_number = [LibraryRule(name if known else number, rule.value, rule.tests) for rule in rules]
        reading = self._reading
        self._beside[arch, name] = libseccomp.make(
            [arch], by_number, default=reading.default, bad_arch=reading.bad_arch
        )

    def _is_alike(
        self, arch: Arch, name: str, members: Mapping[str, int], shared: Mapping[str, list[LibraryRule]]
    ) -> bool:
        """Whether the library is to answer to a multiplexer as we do."""
        reading = self._reading
        said = reading.names[arch].get(name, Said((), reading.default))
        if name in reading.own[arch] and not said.ways and said.fallback != reading.default:
            return True  # to the library too, a rule without conditions is all
        told: dict[int, int] = {}
        for member, number in members.items():
            rules = shared.get(member, [])
            beside = {*self._levels, *self._beside, *self._unasked}
            if any(rule.tests for rule in rules) or (arch, member) in beside:
                return False
            if rules:
                told[number] = rules[0].value
        if name in reading.own[arch]:
            return not told
        return told == {way[0].value: value for value, way in said.ways}


def _is_plain(way: Alternative) -> bool:
    """Whether the library has such comparisons: under a mask it knows only what must be equal."""
    return all(test.op is Operator.EQ or test.mask == FULL for test in way)


def _has(arch: Arch, name: str, reading: Reading) -> bool:
    """Whether the library answers to a name on an ABI, if it is told to."""
    return syscalls.number_of(arch, name) is not None or (_is_member(arch, name) and name in reading.own[arch])


def _is_member(arch: Arch, name: str) -> bool:
    return any(name in members for members in multiplexed.multiplexers(arch).values())


def _rules(name: str, reading: Reading, arch: Arch) -> list[LibraryRule] | None:
    """What the library is told of a name; None where one filter does not hold all of it."""
    said = reading.names[arch].get(name, Said((), reading.default))
    ways = _ways(said, arch)
    if not ways:
        return [LibraryRule(name, said.fallback)] if said.fallback != reading.default else []
    values = {value for value, _ in ways}
    always = not all(way for _, way in ways)
    if said.fallback != reading.default or not _are_few(ways) or not all(_is_one_rule(way) for _, way in ways):
        return None
    if len(values) > 1 and (reading.ordered or always):
        return None
    if always:
        return [LibraryRule(name, value) for value in values]
    return [LibraryRule(name, value, way) for value, way in ways]


def _ways(said: Said, arch: Arch) -> list[tuple[int, Alternative]]:
    """The ways as the library can be told of them."""
    ways = list(said.ways)
    if arch in NARROW or arch is Arch.X32:
        ways = [(value, one) for value, way in ways for one in narrowed([way])]
    return list(dict.fromkeys(way for way in ways if way[0] != said.fallback))


def _are_few(ways: Sequence[tuple[int, Alternative]]) -> bool:
    most = _MOST_WIDE_WAYS if any(len(way) > 1 for _, way in ways) else _MOST_WAYS
    return len(ways) <= most


def _is_one_rule(way: Alternative) -> bool:
    return len({test.arg for test in way}) == len(way)


def _levels(arch: Arch, name: str, said: Said, *, joined: bool) -> tuple[_Level, ...]:
    found = []
    for value, group in groupby(_ways(said, arch), key=lambda way: way[0]):
        ways = [way for _, way in group]
        sets: list[tuple[Program, ...]] = []
        together = [way for way in ways if len(way) < 2] if joined else []
        for at in range(0, len(together), _MOST_WAYS):
            sets.append((_marked(arch, name, value, together[at : at + _MOST_WAYS]),))
        rest = set(ways).difference(together)
        for way in ways:
            if way in rest:
                sets.append(tuple(_marked(arch, name, value, [part]) for part in _split(way)))
        found.append(_Level(value, tuple(sets)))
    return tuple(found)


def _split(way: Alternative) -> list[Alternative]:
    """The tests in as many rules as one argument has tests."""
    parts: list[list[Test]] = [[]]
    for test in way:
        free = next((part for part in parts if all(one.arg != test.arg for one in part)), None)
        if free is None:
            parts.append([test])
        else:
            free.append(test)
    return [tuple(part) for part in parts]


def _marked(arch: Arch, name: str, value: int, ways: Iterable[Alternative]) -> Program:
    call = name if libseccomp.knows(arch, name) else syscalls.number_of(arch, name)
    assert call is not None
    marker = bpf.RET_ALLOW if value != bpf.RET_ALLOW else bpf.RET_KILL_PROCESS
    ways = list(ways)
    told = [()] if () in ways else ways
    return libseccomp.make([arch], [LibraryRule(call, value, way) for way in told], default=marker, bad_arch=marker)


def _decided(said: Said, levels: Sequence[_Level], words: Sequence[int]) -> int:
    return next((level.value for level in levels if level.holds(words)), said.fallback)
