"""What of a call's numbers a rule fits: its calls, groups and arguments as comparisons, for one call of one ABI.

Whatever cannot be told by the registers is told against the program: a rule that allows does not fit, any other does.
That is so of arguments that an ABI beside the machine's own has elsewhere or in memory, of words that it does not have,
and of calls that go through socketcall(2) or ipc(2) (tables.multiplexed). Pure. Called by rules.decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from scmm_oci.enforcer.monitor.rules.model import Outcome, Rule
from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.argument_places import is_seen
from scmm_oci.policy.constraints import Alternative, Test
from scmm_oci.policy.model import ArgType, Constraint, Operator
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import SELECTOR, multiplexers

# A way without tests: every call of that name.
EVERY: tuple[Alternative, ...] = ((),)


class Way(NamedTuple):
    """One way for a call to fit: all of these hold.

    equal: (argument, mask, value). rest: comparisons of other kinds.
    """

    equal: tuple[tuple[int, int, int], ...]
    rest: tuple[Test, ...]


def ways(rule: Rule, name: str | None, arch: Arch | None, own: Arch) -> tuple[Way, ...] | None:
    """The ways in which calls of this name fit the rule, as far as numbers tell; None: every call; none: no call.

    Args:
        name, arch: None where they are not known; only rules for every call fit those.
        own: the ABI that the rule's arguments count as.
    """
    if rule.syscalls is None:
        return None
    if name is None or arch is None:
        return ()
    found = tuple(dict.fromkeys(_found(rule, name, arch, own)))
    return None if () in found else tuple(_way(one) for one in found)


def holds(these: tuple[Way, ...], args: tuple[int, ...]) -> bool:
    """Whether one of the ways is that of a call with these arguments."""
    for equal, rest in these:
        for arg, mask, value in equal:
            if args[arg] & mask != value:
                break
        else:
            if not rest or all(test.holds(args[test.arg]) for test in rest):
                return True
    return False


def _found(rule: Rule, name: str, arch: Arch, own: Arch) -> Iterator[Alternative]:
    unseen = () if rule.decision is Outcome.ALLOW else EVERY
    behind = multiplexers(arch).get(name, {})
    for word in rule.syscalls or ():
        if word == name:
            yield from _argued(rule.args, name, arch, own, unseen)
        elif word in behind:
            yield from _selected(name, behind[word], arch, EVERY if not rule.args else unseen)
        elif word.startswith("@"):
            for member in groups.expand(word):
                if member.name == name:
                    yield from _member(member, arch, unseen)
                elif member.name in behind:
                    yield from _selected(name, behind[member.name], arch, unseen if member.conditions else EVERY)


def _argued(
    args: tuple[Constraint, ...], name: str, arch: Arch, own: Arch, unseen: tuple[Alternative, ...]
) -> tuple[Alternative, ...]:
    if not all(is_seen(name, one.arg, own, arch) for one in args):
        return unseen
    try:
        return constraints.alternatives(args, name, arch, unequal=True)
    except BadInput:
        return unseen


def _member(member: groups.Member, arch: Arch, unseen: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
    here = groups.on_arch(member, arch)
    if here is None:
        return unseen if member.name in syscalls.numbers(arch) else ()
    conditions = tuple(
        Constraint(one.arg, ArgType(one.type), allowed=one.allowed, denied=one.denied) for one in here.conditions
    )
    return _argued(conditions, here.name, arch, arch, unseen)


def _selected(multiplexer: str, number: int, arch: Arch, then: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
    selected = Constraint(SELECTOR, ArgType.INTEGER, allowed=(str(number),))
    return constraints.alternatives((selected,), multiplexer, arch) if then else ()


def _way(tests: Alternative) -> Way:
    equal = tuple((one.arg, one.mask, one.value) for one in tests if one.op is Operator.EQ)
    return Way(equal, tuple(one for one in tests if one.op is not Operator.EQ))
