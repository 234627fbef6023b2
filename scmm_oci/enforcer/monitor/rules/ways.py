"""What of a call's numbers a rule fits: its calls, groups and arguments as comparisons, for one call of one ABI.

Whatever cannot be told by the registers is told against the program: a rule that allows does not fit, any other does.
That is so of arguments that an ABI beside the machine's own has elsewhere or in memory, of words that it does not have,
and of calls that go through socketcall(2) or ipc(2) (tables.multiplexed). Pure. Called by rules.decide and rules.load.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from scmm_oci.enforcer.monitor.rules.model import Outcome, Rule
from scmm_oci.enforcer.monitor.signatures import SIGNATURES
from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.argument_places import is_seen
from scmm_oci.policy.constraints import LOW, Alternative, Test
from scmm_oci.policy.model import ArgType, Constraint, Operator
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import SELECTOR, multiplexers

# A way without tests: every call of that name.
EVERY: tuple[Alternative, ...] = ((),)
# Of monitor.signatures: arguments of which the kernel takes 32 bits. A letter that says so of a longer one has more
# refused, and nothing more allowed.
_INTS = "dfiux"
# Of modes: chmod(2), open(2); mkdir(2); umask(2). What kind of file it is to be, only mknod(2) looks at.
_MODE = 0o7777
_MODES = {"mkdir": 0o1777, "mkdirat": 0o1777, "umask": 0o777}


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
        found = constraints.alternatives(args, name, arch, unequal=True)
    except BadInput:
        return unseen
    return tuple(tuple(_as_taken(test, args, name, strict=bool(unseen)) for test in one) for one in found)


def _as_taken(test: Test, args: tuple[Constraint, ...], name: str, *, strict: bool) -> Test:
    """The test on what the kernel takes of the register, where it could pass as another number by what stands above.

    So for what is refused if it is equal, and for what is allowed unless it is. Elsewhere all 64 bits are compared, and
    `op` always does that.
    """
    is_risky = test.mask & ~LOW and test.op is (Operator.EQ if strict else Operator.NE)
    taken = _taken(name, test.arg)
    if is_risky and taken and all(one.arg != test.arg or one.op is None for one in args):
        # A number that has more than is taken was not meant for what is.
        width = LOW if test.value & LOW & ~taken else taken
        return replace(test, value=test.value & width, mask=test.mask & width)
    return test


def _taken(name: str, arg: int) -> int:
    """The bits of the argument that the kernel looks at; 0 where that is all of them."""
    letter = SIGNATURES.get(name, "-")[arg : arg + 1]
    if letter == "m" or name == "umask":
        return _MODES.get(name, _MODE)
    return LOW if letter and letter in _INTS else 0


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
