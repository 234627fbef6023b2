"""What a policy answers, and what a profile for runtimes does → the plan of a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scmm_oci.compiled import bpf
from scmm_oci.compiled.filter.line import Abi, machines
from scmm_oci.compiled.filter.plan import Case, Decision, Machine, Piece, Plan, constant
from scmm_oci.compiled.filter.values import VIOLATION, passes, returned, returned_by
from scmm_oci.errors import BadInput, Problem
from scmm_oci.oci.seccomp import Condition, Profile
from scmm_oci.oci.seccomp import Operator as OciOperator
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer, Entry, entries
from scmm_oci.policy.constraints import FULL, Alternative, Test
from scmm_oci.policy.container import depends
from scmm_oci.policy.model import Action, Operator, Policy, Settings
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import SELECTOR, multiplexers


def of_policy(policy: Policy) -> Plan:
    """The plan of a policy's filter, for all of its architectures. Names that one of them lacks are not in it there.

    Raises:
        BadInput: rules depend on the container, or have constraints that no filter can hold.
    """
    if depends(policy):
        message = "has rules that depend on the container"
        raise BadInput([Problem(".syscalls", message, "choose one with policy.container")])
    settings = policy.settings
    bad_arch = _bad_arch(settings)
    default = constant(returned(Answer.of(None, settings)))
    found: list[Problem] = []
    abis = []
    for arch in settings.architectures:
        decisions: dict[int, Decision] = {}
        counts: dict[int, int] = {}
        for name, entry in sorted(entries(policy, arch).items()):
            number = syscalls.number_of(arch, name)
            if number is None:
                continue
            try:
                decisions[number] = _decision(name, entry, settings, arch)
            except BadInput as error:
                found += [Problem(f"rules for {name}", one.message, one.hint) for one in error.problems]
                continue
            rules = [*entry.constrained, *([entry.plain] if entry.plain is not None else [])]
            counts[number] = sum(rule.origin.count + rule.origin.denied for rule in rules if rule.origin is not None)
        abis.append(Abi(arch, decisions, default, counts))
    if found:
        raise BadInput(list(dict.fromkeys(found)))
    return Plan(machines(abis, bad_arch), bad_arch)


def _bad_arch(settings: Settings) -> int:
    # A deny is one with the policy's errno: no rule says another.
    number = (errnos.number(settings.default_errno) or 0) if settings.bad_arch_action is Action.DENY else 0
    return returned(Answer(settings.bad_arch_action.rank, number, settings.bad_arch_action))


def _decision(name: str, entry: Entry, settings: Settings, arch: Arch) -> Decision:
    """The cases of a call in the order in which a policy has them (policy.answers)."""
    fallback = Answer.of(entry.plain, settings)
    found = []
    for rule in entry.constrained:
        answer = Answer.of(rule, settings)
        # Asked for though the answer may be what holds anyway: a constraint that no filter can hold is an error.
        ways = constraints.alternatives(rule.constraints, name, arch, unequal=True)
        if answer != fallback:
            found += [(answer, way) for way in ways]
    # By what they test first, so that the order of rules for a call does not show.
    found.sort(key=lambda one: one[1])
    refusing = sorted((one for one in found if one[0] > fallback), key=lambda one: one[0], reverse=True)
    passing = sorted((one for one in found if one[0] < fallback), key=lambda one: one[0])
    cases = [Case(way, returned(answer)) for answer, way in (*refusing, *passing)]
    return (*dict.fromkeys(cases), Case((), returned(fallback)))


def of_profile(
    profile: Profile, *, arch: Arch = Arch.X86_64, counts: Mapping[str, int] | None = None, bad_arch: int | None = None
) -> Plan:
    """The plan of the filter that a runtime makes of a profile.

    A rule without conditions holds whatever others say; of those with conditions the first that holds. What repeats the
    default is no rule (libcontainer/seccomp of runc).

    Args:
        arch: the machine, where the profile names no architectures.
        counts: how often calls were seen, by name.
        bad_arch: what calls of other architectures get; the thread's end, as libseccomp has it, where it is not given.

    Raises:
        BadInput: none of the profile's architectures is known.
    """
    known = {one.scmp: one for one in Arch}
    arches = [known[name] for name in profile.architectures if name in known] or [arch]
    if profile.architectures and not any(name in known for name in profile.architectures):
        raise BadInput([Problem(".architectures", "has none that is known", "known: " + ", ".join(known))])
    default = returned_by(profile.default_action, profile.default_errno)
    plain: dict[str, int] = {}
    limited: dict[str, list[Case]] = {}
    for rule in profile.syscalls:
        value = returned_by(rule.action, rule.errno)
        if value == default:
            continue
        for name in rule.names:
            for way in rule.alternatives():
                if way:
                    limited.setdefault(name, []).append(Case(_tests(way), value))
                else:
                    plain.setdefault(name, value)
    said = {name: (*cases, Case((), default)) for name, cases in limited.items()}
    said |= {name: constant(value) for name, value in plain.items()}
    abis = []
    for one in arches:
        decisions: dict[int, Decision] = {}
        seen: dict[int, int] = {}
        for name, decision in sorted({**_through(plain, one, default), **said}.items()):
            number = syscalls.number_of(one, name)
            if number is not None:
                decisions[number] = decision
                seen[number] = (counts or {}).get(name, 0)
        abis.append(Abi(one, decisions, constant(default), seen))
    refused = bpf.RET_KILL_THREAD if bad_arch is None else bad_arch
    return Plan(machines(abis, refused), refused)


def _through(plain: Mapping[str, int], arch: Arch, default: int) -> dict[str, Decision]:
    """What libseccomp lets through a multiplexer, of the calls that it stands for; those with conditions stay out."""
    found: dict[str, Decision] = {}
    for multiplexer, members in multiplexers(arch).items():
        cases = [
            Case((Test(SELECTOR, Operator.EQ, number),), plain[name])
            for name, number in members.items()
            if name in plain
        ]
        if cases:
            found[multiplexer] = (*cases, Case((), default))
    return found


_OPERATORS = {
    OciOperator.NE: Operator.NE,
    OciOperator.LT: Operator.LT,
    OciOperator.LE: Operator.LE,
    OciOperator.EQ: Operator.EQ,
    OciOperator.GE: Operator.GE,
    OciOperator.GT: Operator.GT,
}


def _tests(conditions: Sequence[Condition]) -> Alternative:
    return tuple(
        # libseccomp drops the bits of a value that lie outside of its mask.
        Test(one.index, Operator.EQ, one.value_two & one.value, one.value)
        if one.op is OciOperator.MASKED_EQ
        else Test(one.index, _OPERATORS[one.op], one.value, FULL)
        for one in conditions
    )


def permissive(plan: Plan) -> Plan:
    """The plan's twin that refuses nothing: what would be refused, or asked of someone, is logged (VIOLATION)."""

    def value(one: int) -> int:
        return one if passes(one) else VIOLATION

    def piece(one: Piece) -> Piece:
        decision = tuple(Case(case.tests, value(case.value)) for case in one.decision)
        return Piece(one.first, one.last, decision, one.weight)

    lines = [
        Machine(one.audit, one.bits, one.byte_order, tuple(piece(each) for each in one.line)) for one in plan.machines
    ]
    return Plan(tuple(lines), value(plan.bad_arch))
