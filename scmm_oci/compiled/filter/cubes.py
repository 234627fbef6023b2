"""Values of an argument that are answered alike → fewer comparisons that hold for the same values.

0, 8, 0x20000 and 0x20008 are what has no bit set but these two: one test instead of four. Values that differ in one
bit are one comparison under a mask without it, and two such comparisons may be one again (Quine and McCluskey).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from scmm_oci.compiled.filter.plan import Case, Decision
from scmm_oci.policy.constraints import Alternative, Test
from scmm_oci.policy.model import Operator

# A word that is masked has to be loaded again: worth it for so many values, or where one test of bits does.
_ENOUGH = 4
# Of more values than these, no cubes are looked for: they are halved instead.
_MOST = 64

_Cube = tuple[int, int]


def joined(decision: Decision) -> Decision:
    """The decision with cases joined that differ in one argument's value only, and are next to each other."""
    found: list[Case] = []
    for value, cases in groupby(decision, key=lambda case: case.value):
        found += [Case(tests, value) for tests in _joined([case.tests for case in cases])]
    return tuple(found)


def _joined(ways: Sequence[Alternative]) -> Iterator[Alternative]:
    """Alternatives that hold for what these hold for; their order does not matter."""
    rest = dict.fromkeys(ways)
    # Those that differ in one value, by what they have in common: the other tests, the argument, the mask.
    alike: dict[tuple[Alternative, int, int], dict[int, Alternative]] = {}
    for way in rest:
        for test in way:
            if test.op is Operator.EQ:
                others = tuple(one for one in way if one is not test)
                alike.setdefault((others, test.arg, test.mask), {})[test.value] = way
    for (others, arg, mask), by_value in alike.items():
        values = {value for value, way in by_value.items() if way in rest}
        if 1 < len(values) <= _MOST:
            for value in values:
                del rest[by_value[value]]
            for value, bits in _cubes(values, mask):
                rest[tuple(sorted((*others, Test(arg, Operator.EQ, value, bits))))] = None
    return iter(rest)


def _cubes(values: Iterable[int], mask: int) -> list[_Cube]:
    """(value, mask) pairs that hold for these values alone, as few as are worth it."""
    left = set(values)
    found: list[_Cube] = []
    for cube, covered in _primes(left, mask):
        mine = covered & left
        if len(mine) >= _ENOUGH or (len(mine) > 1 and cube[0] == 0):
            found.append(cube)
            left -= mine
    return [*found, *((value, mask) for value in sorted(left))]


def _primes(values: set[int], mask: int) -> list[tuple[_Cube, set[int]]]:
    """Every cube of these values alone that no larger one holds, the largest first."""
    level: dict[_Cube, set[int]] = {(value, mask): {value} for value in values}
    primes: list[tuple[_Cube, set[int]]] = []
    while level:
        larger: dict[_Cube, set[int]] = {}
        used: set[_Cube] = set()
        for (value, bits), covered in level.items():
            for bit in _bits(bits):
                other = (value ^ bit, bits)
                if other in level:
                    used.add((value, bits))
                    larger[value & ~bit, bits & ~bit] = covered | level[other]
        primes += [item for item in level.items() if item[0] not in used]
        level = larger
    return sorted(primes, key=lambda item: (-len(item[1]), item[0]))


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield mask & -mask
        mask &= mask - 1
