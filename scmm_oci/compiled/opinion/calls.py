"""Calls at which filters differ if they differ at all: the boundaries of everything that a filter looks at, and
random ones that lie near them.

Taken of a plan, or of what the second opinion read of the policy by itself (`Target`). Pure; the same input gives the
same calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from random import Random

from scmm_oci.compiled.bpf import WORD, ByteOrder, Call
from scmm_oci.compiled.filter.plan import Plan
from scmm_oci.policy.constraints import FULL, Alternative, Test
from scmm_oci.tables.arch import Arch

# Every number of every table is below; on x86_64 the same again with the bit of x32.
NUMBERS = 600
X32_BIT = 0x40000000
_EDGES = (X32_BIT - 1, X32_BIT, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xC0000000, 0xC0000001, WORD - 1, WORD)

# seccomp_data.arch: of no machine, and of the machines that we know.
_FOREIGN = (0, 1, WORD, *sorted({arch.audit for arch in Arch}))

# Where the values of all arguments together are more, each is varied by itself around calls that pass the tests.
_MOST_TOGETHER = 300
# Boundaries of one call, times the ways in which its rules can hold, beyond which not all are asked.
_MOST_COMPARISONS = 1_000_000

# So many ways of a number are tried on those beside it.
_NEIGHBOURS = 8


@dataclass(frozen=True)
class Target:
    """What is asked about all ABIs with one value of ``seccomp_data.arch``.

    Attributes:
        bits: of a register; of 32, arguments have no high words.
        numbers: the system call numbers where an answer may change.
        tests: number → the ways in which a rule for it holds.
    """

    audit: int
    bits: int
    byte_order: ByteOrder
    numbers: tuple[int, ...]
    tests: Mapping[int, tuple[Alternative, ...]]


def targets(plan: Plan) -> tuple[Target, ...]:
    """What to ask about a plan. Of a long piece with tests, only both ends are asked with arguments."""
    found = []
    for machine in plan.machines:
        tests: dict[int, tuple[Alternative, ...]] = {}
        for piece in machine.line:
            ways = tuple(case.tests for case in piece.decision if case.tests)
            if ways:
                span = piece.last - piece.first
                inner = range(piece.first, piece.last + 1) if span < 64 else (piece.first, piece.last)
                tests |= dict.fromkeys(inner, ways)
        ends = {end for piece in machine.line for end in (piece.first, piece.last)}
        found.append(Target(machine.audit, machine.bits, machine.byte_order, tuple(sorted(ends)), tests))
    return tuple(found)


def boundary_calls(plan: Plan) -> Iterator[Call]:
    """The calls of `boundaries` for a plan."""
    return boundaries(targets(plan))


def random_calls(plan: Plan, random: Random, count: int) -> Iterator[Call]:
    """The calls of `randoms` for a plan."""
    return randoms(targets(plan), random, count)


def boundaries(asked: Sequence[Target]) -> Iterator[Call]:
    """Every boundary once: all numbers of tables, and one below and above what a filter tells apart; for each number
    whose arguments are looked at, the values around each that they are compared with; and machines that are none.
    """
    for target in asked:
        for nr in _numbers(target):
            yield Call(nr, target.audit, (), byte_order=target.byte_order)
            yield Call(nr, target.audit, (_limit(target),) * 6, byte_order=target.byte_order)
        for nr in sorted(target.tests):
            for args in _arguments(target.tests[nr], _limit(target)):
                yield Call(nr, target.audit, args, byte_order=target.byte_order)
            # The numbers beside it, with arguments that this one would be answered otherwise for.
            for beside in (nr - 1, nr + 1):
                for way in target.tests[nr][:_NEIGHBOURS] if 0 <= beside <= WORD else ():
                    args = _in_order(_passing(way, _limit(target)))
                    yield Call(beside, target.audit, args, byte_order=target.byte_order)
    order: ByteOrder = asked[0].byte_order if asked else "little"
    ours = {target.audit for target in asked}
    near = {audit ^ 1 << bit for audit in ours for bit in range(32)}
    for audit in sorted({*_FOREIGN, *near} - ours):
        for nr in (0, 1, 59, X32_BIT, WORD):
            yield Call(nr, audit, byte_order=order)


def randoms(asked: Sequence[Target], random: Random, count: int) -> Iterator[Call]:
    """That many calls: half of them of numbers whose arguments are looked at, most others of numbers that exist, few
    of any number and of any machine. Arguments are near what they are compared with, as a rule.
    """
    prepared = [(target, _numbers(target), sorted(target.tests), _interesting(target)) for target in asked]
    while count > 0 and prepared:
        count -= 1
        target, numbers, tested, values = random.choice(prepared)
        chance, audit = random.random(), target.audit
        if tested and chance < 0.5:
            nr = random.choice(tested)
        elif chance < 0.97:
            nr = random.choice(numbers)
        else:
            nr = random.getrandbits(32)
        if chance > 0.99:
            audit ^= 1 << random.randrange(32)
        near = values.get(nr, {})
        args = tuple(_some(random, near.get(arg, ()), _limit(target)) for arg in range(6))
        yield Call(nr, audit, args, random.getrandbits(64), target.byte_order)


def _limit(target: Target) -> int:
    return FULL if target.bits == 64 else WORD


def _numbers(target: Target) -> list[int]:
    found = {*range(NUMBERS), *_EDGES}
    if target.audit == Arch.X86_64.audit:
        found.update(range(X32_BIT, X32_BIT + NUMBERS))
    for nr in (*target.numbers, *target.tests):
        found.update(one for one in (nr - 1, nr, nr + 1) if 0 <= one <= WORD)
    return sorted(found)


def _interesting(target: Target) -> dict[int, dict[int, tuple[int, ...]]]:
    return {
        nr: {arg: tuple(sorted(one)) for arg, one in _values(ways, _limit(target)).items()}
        for nr, ways in target.tests.items()
    }


def _some(random: Random, near: Sequence[int], limit: int) -> int:
    chance = random.random()
    if near and chance < 0.85:
        value = random.choice(near)
        return value if chance < 0.7 else value ^ 1 << random.randrange(limit.bit_length())
    if chance < 0.9:
        return random.randrange(4)
    return random.getrandbits(64) & limit


def _around(test: Test, limit: int) -> set[int]:
    """The values at which the outcome of a test may change, in each of its words."""
    value = test.value
    high = 1 << 32
    found = {value - 1, value, value + 1, value - high, value + high, value & WORD, value >> 32 << 32, value ^ high - 1}
    # One word right and the other next to it, and the other way: a comparison of two words has five outcomes.
    found |= {
        (value - high) | WORD,
        (value + high) >> 32 << 32,
        (value + high) | WORD,
        value | WORD,
        value | WORD << 32,
    }
    found |= {value + step + beside for step in (-high, high) for beside in (-1, 1)}
    if test.mask != FULL:
        bits = [1 << bit for bit in range(64) if test.mask >> bit & 1]
        # A wide mask is a comparison of a word: its first, middle and last bits tell.
        chosen = bits if len(bits) <= 12 else [*bits[:3], *bits[len(bits) // 2 - 1 :][:3], *bits[-3:]]
        found |= {value ^ bit for bit in chosen}
        found |= {value | ~test.mask & FULL, ~test.mask & FULL, value | high, value | 1 << 63}
        free = [bit for bit in range(64) if not test.mask >> bit & 1]
        found |= {value | 1 << bit for bit in (*free[:2], *free[-2:])}
    return {one & limit for one in found if 0 <= one <= FULL}


def _values(ways: Iterable[Alternative], limit: int) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for way in ways:
        for test in way:
            found.setdefault(test.arg, {0, limit}).update(_around(test, limit))
    return found


def _passing(way: Alternative, limit: int) -> dict[int, int]:
    """A value of each argument that passes the tests of a way, where one of those near them does."""
    found = {}
    for arg in {test.arg for test in way}:
        tests = [test for test in way if test.arg == arg]
        near = sorted(set[int]().union(*(_around(test, limit) for test in tests)), key=_by_size)
        found[arg] = next((one for one in near if all(test.holds(one) for test in tests)), tests[0].value & limit)
    return found


def _by_size(value: int) -> tuple[bool, int]:
    return value > WORD, value


def _arguments(ways: tuple[Alternative, ...], limit: int) -> Iterator[tuple[int, ...]]:
    values = {arg: sorted(one) for arg, one in sorted(_values(ways, limit).items())}
    together = 1
    for one in values.values():
        together *= len(one)
    chosen: Iterable[dict[int, int]]
    if together <= _MOST_TOGETHER:
        chosen = (dict(zip(values, one, strict=True)) for one in product(*values.values()))
    else:
        chosen = _one_by_one(ways, values, limit)
    found = list(dict.fromkeys(map(_in_order, chosen)))
    # A rule with thousands of numbers, none of which a person wrote: every so many of its boundaries.
    yield from found[:: 1 + len(found) * len(ways) // _MOST_COMPARISONS]


def _in_order(values: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(values.get(arg, 0) for arg in range(max(values, default=-1) + 1))


def _one_by_one(ways: Iterable[Alternative], values: Mapping[int, list[int]], limit: int) -> Iterator[dict[int, int]]:
    """Around a call that passes each way: every value of each argument; and all arguments moved together."""
    for way in islice(ways, 64):
        base = _passing(way, limit)
        for arg in base:
            own = sorted(set[int]().union(*(_around(test, limit) for test in way if test.arg == arg)))
            for value in own:
                yield {**base, arg: value}
    for way in ways:
        base = _passing(way, limit)
        yield base
        for arg, value in base.items():
            yield from ({**base, arg: (value + step) & limit} for step in (-1, 1))
    for arg, near in values.items():
        yield from ({arg: value} for value in near)
