"""What a policy answers to a call, by its arguments → rules of a seccomp profile with conditions.

A profile's rules for one call must not disagree: libseccomp takes the rule without conditions over all others, and of
two that hold at once it is not said which wins. So what holds where no condition does is written as what is left when
the conditions are taken away; where that cannot be said, the policy is refused rather than widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from scmm_oci.errors import BadInput, Problem
from scmm_oci.oci.seccomp import Condition
from scmm_oci.oci.seccomp import Operator as OciOperator
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer, Entry
from scmm_oci.policy.argument_places import is_seen
from scmm_oci.policy.constraints import FULL, Alternative, Test
from scmm_oci.policy.model import Constraint, Operator, Settings
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

# An answer, and the conditions of each rule that gives it; a rule without conditions holds always.
Conditional = list[tuple[Answer, tuple[Condition, ...]]]

_OPERATORS = {
    Operator.NE: OciOperator.NE,
    Operator.LT: OciOperator.LT,
    Operator.LE: OciOperator.LE,
    Operator.GE: OciOperator.GE,
    Operator.GT: OciOperator.GT,
}

# Bits that runtimes do not set after they have loaded the filter, in Go's runtime as in C: threads in namespaces of
# their own (CLONE_NEW* of linux/sched.h; engines' default profiles refuse them too), memory to execute (PROT_EXEC).
_NEVER = {
    "clone": ("clone_flags", 0x7E020000),
    "mmap": ("prot_flags", 0x4),
    "mprotect": ("prot_flags", 0x4),
}


def floor_conditions(name: str, arches: Sequence[Arch]) -> tuple[Alternative, ...]:
    """With which arguments a runtime makes a call of the floor; one alternative without tests if with any."""
    vocabulary, unused = _NEVER.get(name, ("", 0))
    places = {constraints.index_of(name, vocabulary, arch) for arch in arches}
    index = next(iter(places)) if len(places) == 1 else None
    return ((),) if index is None else ((Test(index, Operator.EQ, 0, unused),),)


def conditional(name: str, entry: Entry, settings: Settings, more: tuple[Alternative, ...] = ()) -> Conditional:
    """The rules of a profile for a call with constraints.

    Args:
        more: alternatives that are allowed besides.

    Raises:
        BadInput: a profile cannot say it; with what and why.
    """
    fallback = Answer.of(entry.plain, settings)
    default = Answer.of(None, settings)
    by_answer: dict[Answer, set[Alternative]] = {}
    for rule in entry.constrained:
        answer = Answer.of(rule, settings)
        if answer != fallback:  # else it says what holds anyway
            by_answer.setdefault(answer, set()).update(_alternatives(name, rule.constraints, settings))
    if more:
        allowed = next((one for one in by_answer if one.action.passes), None)
        if allowed is not None:
            by_answer[allowed].update(more)
    _disagreements(name, by_answer)
    result: Conditional = []
    for answer, ways in sorted(by_answer.items()):
        for way in sorted(_shortest(ways)):
            result.append((answer, _written(name, way)))
    if not by_answer and fallback != default:
        result.append((fallback, ()))
    elif fallback != default:
        every = [way for ways in by_answer.values() for way in ways]
        result += [(fallback, _written(name, way)) for way in _rest(name, every)]
    return result


def _alternatives(name: str, given: Sequence[Constraint], settings: Settings) -> set[Alternative]:
    ways: set[Alternative] | None = None
    having = [arch for arch in settings.architectures if name in syscalls.numbers(arch)]
    for arch in having or settings.architectures:
        here = set(constraints.alternatives(given, name, arch))
        seen = all(is_seen(name, one.arg, settings.arch, arch) for one in given)
        if not seen or (ways is not None and here != ways):
            arches = " and ".join(having or settings.architectures)
            message = (
                f"the constraints on {name} are different comparisons on {arches}, which a profile cannot tell apart"
            )
            raise BadInput([Problem("", message, "make a policy for each")])
        ways = here
    return ways or set()


def _shortest(ways: set[Alternative]) -> set[Alternative]:
    """The alternatives less those that another one holds for anyway."""
    return {way for way in ways if not any(other != way and _implies(way, other) for other in ways)}


def _implies(way: Alternative, other: Alternative) -> bool:
    return all(any(_narrower(test, wanted) for test in way) for wanted in other)


def _narrower(test: Test, wanted: Test) -> bool:
    if test == wanted:
        return True
    equal = test.op is Operator.EQ and wanted.op is Operator.EQ and test.arg == wanted.arg
    return equal and not wanted.mask & ~test.mask and test.value & wanted.mask == wanted.value


def _disagreements(name: str, by_answer: dict[Answer, set[Alternative]]) -> None:
    for (first, ways), (second, others) in combinations(sorted(by_answer.items()), 2):
        for way in sorted(ways):
            for other in sorted(others):
                if not (_apart(way, other) or _apart(other, way)):
                    message = (
                        f"two rules for {name} can hold at once, one to {first.action} and one to {second.action}: "
                        "a profile does not say which wins"
                    )
                    raise BadInput([Problem("", message, "make their constraints exclude one another")])


def _apart(way: Alternative, other: Alternative) -> bool:
    for test in way:
        for against in other:
            if test.arg != against.arg or test.op is not Operator.EQ:
                continue
            if against.op is Operator.EQ and (test.value ^ against.value) & test.mask & against.mask:
                return True
            if against.op is not Operator.EQ and test.mask == FULL and not against.holds(test.value):
                return True
    return False


def _rest(name: str, ways: list[Alternative]) -> list[Alternative]:
    """What no alternative holds for, where all of them compare one argument under one mask."""
    tests = [way[0] for way in ways if len(way) == 1 and way[0].op is Operator.EQ]
    if len(tests) != len(ways) or len({(test.arg, test.mask) for test in tests}) != 1:
        message = f"what {name} is answered where none of its constraints holds cannot be written into a profile"
        hint = "leave out the rule without constraints, so that the default holds"
        raise BadInput([Problem("", message, hint)])
    arg, mask = tests[0].arg, tests[0].mask
    blocks = constraints.others({test.value for test in tests}, mask)
    return [(Test(arg, Operator.EQ, value, bits),) for value, bits in blocks]


def _written(name: str, way: Alternative) -> tuple[Condition, ...]:
    if len({test.arg for test in way}) != len(way):
        # runc and crun take two conditions on one argument for two rules, of which one is enough.
        message = f"two comparisons of one argument of {name} cannot be written into a profile: runtimes take either"
        raise BadInput([Problem("", message)])
    return tuple(_condition(test) for test in way)


def _condition(test: Test) -> Condition:
    if test.op is not Operator.EQ:
        return Condition(test.arg, test.value, _OPERATORS[test.op])
    if test.mask == FULL:
        return Condition(test.arg, test.value, OciOperator.EQ)
    return Condition(test.arg, test.mask, OciOperator.MASKED_EQ, test.value)
