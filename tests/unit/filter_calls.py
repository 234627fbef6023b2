"""What a filter has to return, read from policy.answers and the tables alone, and the calls worth asking it about."""

from dataclasses import dataclass

from hypothesis import strategies as st

from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.simulate import simulate
from scmm_oci.policy import constraints, model
from scmm_oci.policy.answers import Answer, Answers, entries
from scmm_oci.policy.constraints import FULL, LOW
from scmm_oci.policy.model import Action, ArgType, Operator
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

X32_BIT = 0x40000000
MINUS_ONE = 0xFFFFFFFF
NARROW = (Arch.X86, Arch.ARM, Arch.S390)
BIG = (Arch.S390X, Arch.S390)

# linux/seccomp.h, written down here once more.
VALUES = {
    Action.ALLOW: 0x7FFF0000,
    Action.LOG: 0x7FFC0000,
    Action.TRACE: 0x7FF00000,
    Action.NOTIFY: 0x7FC00000,
    Action.DENY: 0x00050000,
    Action.TRAP: 0x00030000,
    Action.KILL_THREAD: 0x00000000,
    Action.KILL: 0x80000000,
}


def value_of(answer):
    """What a filter returns for an answer."""
    return VALUES[answer.action] | (answer.number if answer.action in (Action.DENY, Action.TRACE) else 0)


def byte_order(arch):
    return "big" if arch in BIG else "little"


class Reference:
    """A policy's answers to any call of any machine."""

    def __init__(self, policy):
        """Raises BadInput where the policy has a constraint that no filter can hold."""
        self._policy = policy
        settings = policy.settings
        self._answers = {arch: Answers(policy, arch) for arch in settings.architectures}
        self.default = value_of(Answer.of(None, settings))
        self.bad_arch = value_of(Answer.of(model.SyscallRule("", settings.bad_arch_action), settings))

    def value(self, call):
        """What the filter has to return."""
        arch = self._arch(call)
        if arch is None:
            return self.bad_arch
        name = syscalls.name_of(arch, call.nr) if arch is not Arch.X32 or call.nr & X32_BIT else None
        if name is None or syscalls.number_of(arch, name) != call.nr:
            return self.default
        return value_of(self._answers[arch].of(name, dict(enumerate(call.args))))

    def _arch(self, call):
        here = [arch for arch in self._answers if arch.audit == call.arch]
        if Arch.X86_64 in here and call.nr >= X32_BIT and call.nr != MINUS_ONE:
            return Arch.X32 if Arch.X32 in here else None
        return here[0] if here else None


def foreign(policy):
    """Calls of machines that the policy is not for."""
    ours = {arch.audit for arch in policy.settings.architectures}
    near = {audit + by for audit in ours for by in (-1, 1)}
    every = {arch.audit for arch in Arch} | near | {0, 0x40000000, 0x80000000, MINUS_ONE}
    for audit in sorted(every - ours):
        for nr in (0, 1, 59, X32_BIT, MINUS_ONE):
            yield Call(nr, audit)


def plain_calls(policy):
    """Every number of every ABI, and those around and far behind them; without arguments."""
    for arch in policy.settings.architectures:
        table = set(syscalls.numbers(arch).values())
        numbers = {number + by for number in table for by in (-1, 0, 1, 2)} - {-1}
        if arch is Arch.X32:
            numbers = {number | X32_BIT for number in numbers} | {0x7FFFFFFF}
        far = {
            0x3FFFFFFF,
            X32_BIT,
            X32_BIT + 1,
            X32_BIT + 547,
            0x7FFFFFFF,
            0x80000000,
            0xBFFFFFFF,
            0xC0000000,
            MINUS_ONE - 1,
        }
        for number in sorted(numbers | far | {MINUS_ONE}):
            yield Call(number, arch.audit, byte_order=byte_order(arch))


def boundaries(test):
    """Values around one comparison."""
    value, mask = test.value, test.mask
    lowest, highest = mask & -mask, 1 << max(mask.bit_length() - 1, 0)
    found = [value, value - 1, value + 1, value ^ 1 << 32, value + (1 << 32), value - (1 << 32), value ^ 1 << 31]
    found += [value | ~mask, value ^ lowest, value ^ highest, value ^ 1 << 63, value & LOW, value & ~LOW]
    return [one & FULL for one in (*found, value & LOW | value << 32, 0, FULL, LOW, 1 << 32)]


def holding(test):
    """A value for which a comparison holds, where there is one."""
    by = {Operator.NE: 1, Operator.LT: -1, Operator.GT: 1}.get(test.op, 0)
    return (test.value + by) & FULL


def argument_calls(policy, random, *, most=60):
    """For every call with constraints: each comparison at its boundaries while the others hold, and any mixture."""
    for arch in policy.settings.architectures:
        for name, entry in sorted(entries(policy, arch).items()):
            number = syscalls.number_of(arch, name)
            if number is None or not entry.constrained:
                continue
            ways = [way for rule in entry.constrained for way in constraints.alternatives(rule.constraints, name, arch)]
            ways = random.sample(ways, min(len(ways), 8))
            values = [[0, FULL] for _ in range(6)]
            found = []
            for way in ways:
                base = {test.arg: holding(test) for test in way}
                found.append(base)
                for test in way:
                    values[test.arg] += boundaries(test)
                    found += [{**base, test.arg: value} for value in boundaries(test)]
            found = random.sample(found, min(len(found), most))
            found += [{arg: random.choice(some) for arg, some in enumerate(values)} for _ in range(most // 3)]
            for chosen in found:
                args = tuple(chosen.get(arg, 0) & (LOW if arch in NARROW else FULL) for arg in range(6))
                yield Call(number, arch.audit, args, byte_order=byte_order(arch))


def differences(program, policy, calls):
    """The calls for which a program does not return what the policy answers, as they come."""
    reference = Reference(policy)
    for call in calls:
        found, wanted = simulate(program, call).value, reference.value(call)
        if found != wanted:
            yield Difference(call, found, wanted)


@dataclass(frozen=True)
class Difference:
    """A call, what the program returns for it, and what it should."""

    call: Call
    found: int
    wanted: int

    def __repr__(self):
        call = self.call
        args = ", ".join(map(hex, call.args))
        return f"nr {call.nr:#x} arch {call.arch:#x} ({args}): {self.found:#010x} for {self.wanted:#010x}"


def every_call(policy, random, *, most=60):
    """All of the above."""
    yield from foreign(policy)
    yield from plain_calls(policy)
    yield from argument_calls(policy, random, most=most)


# Numbers that are near one another in one word or in the other, so that comparisons meet.
numbers = st.one_of(
    st.sampled_from([0, 1, 2, LOW, LOW - 1, 1 << 31, 1 << 32, (1 << 32) + 1, FULL, FULL - 1, 1 << 63, FULL ^ LOW]),
    st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda two: two[0] << 32 | two[1]),
    st.integers(0, FULL),
)


@st.composite
def comparisons(draw, args):
    """One comparison of one of the arguments given."""
    op = draw(st.sampled_from(Operator))
    mask = draw(numbers) if op is Operator.MASKED_EQ else None
    value = draw(numbers)
    value = value if mask is None else value & mask
    return model.Constraint(draw(st.sampled_from(args)), ArgType.INTEGER, op=op, value=value, mask=mask)


@st.composite
def policies_for(draw, *architectures, most=12):
    """A policy for some ABIs, with comparisons that overlap one another."""
    main = architectures[0]
    actions = [action for action in Action if action is not Action.NOTIFY]
    default = draw(st.sampled_from(actions))
    rules = []
    for name in draw(st.lists(st.sampled_from(sorted(syscalls.numbers(main))), unique=True, max_size=most)):
        structure = any(constraints.is_structure(name, arg, arch) for arch in architectures for arg in range(6))
        sets = st.lists(st.lists(comparisons([0, 1, 5]), min_size=1, max_size=3).map(tuple), max_size=3)
        constrained = [] if structure else draw(sets)
        plain = [()] if not constrained or draw(st.booleans()) else []
        for given in (*constrained, *plain):
            action = draw(st.sampled_from(actions))
            errno = draw(st.sampled_from([None, "ENOSYS", "4095"])) if action is Action.DENY else None
            rules.append(model.SyscallRule(name, action, errno, given))
    settings = model.Settings(
        default_action=default, arch=main, architectures=architectures, bad_arch_action=draw(st.sampled_from(actions))
    )
    return model.Policy(settings=settings, syscalls=tuple(rules))
