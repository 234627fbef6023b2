"""Which rule of a policy wins, against a second reading of the sentences in policy.answers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_samples import rules as any_rules

from scmm_oci.errors import BadInput
from scmm_oci.policy.answers import Answer, Answers, entries, expanded
from scmm_oci.policy.model import Action, Applies, ArgType, Constraint, Operator, Policy, Settings, SyscallRule
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch

X86 = Arch.X86_64


def equal(arg, value):
    return Constraint(arg, ArgType.INTEGER, op=Operator.EQ, value=value)


def rule(action, *constraints, name="read", **more):
    return SyscallRule(name, Action(action), constraints=constraints, **more)


def answers(*rules, default="deny", **settings):
    return Answers(Policy(settings=Settings(default_action=Action(default), **settings), syscalls=rules), X86)


def action(found):
    return found.action.value


def test_rule_without_constraints_or_the_default():
    made = answers(rule("log"))
    assert (action(made.of("read", {})), action(made.of("write", {}))) == ("log", "deny")
    assert action(answers(default="allow").of("read", {})) == "allow"


def test_more_restrictive_constraint_wins_over_the_plain_rule():
    made = answers(rule("allow"), rule("deny", equal(0, 1)), rule("kill", equal(1, 1)))
    assert action(made.of("read", {0: 0, 1: 0})) == "allow"
    assert action(made.of("read", {0: 1, 1: 0})) == "deny"
    # Both hold: the most restrictive.
    assert action(made.of("read", {0: 1, 1: 1})) == "kill"


def test_less_restrictive_constraint_opens_what_the_plain_rule_refuses():
    made = answers(rule("kill"), rule("allow", equal(0, 1)), rule("deny", equal(1, 1)))
    assert action(made.of("read", {0: 0, 1: 0})) == "kill"
    # Both are less restrictive than the plain rule: the least restrictive.
    assert action(made.of("read", {0: 1, 1: 1})) == "allow"
    assert action(made.of("read", {0: 0, 1: 1})) == "deny"


def test_second_rule_with_constraints_is_reached():
    # The seed system looks at the first one only.
    made = answers(rule("allow", equal(0, 1)), rule("allow", equal(0, 2)))
    assert [action(made.of("read", {0: value})) for value in range(4)] == ["deny", "allow", "allow", "deny"]


def test_errnos_and_messages_are_told_apart():
    made = answers(rule("deny", errno="ENOSYS"), rule("trace", name="write", message=7), default_errno="EACCES")
    assert made.of("read", {}).number == 38
    assert (made.of("write", {}).number, made.of("brk", {}).number) == (7, 13)
    assert Answer.of(None, Settings(default_action=Action.TRACE, default_message=9)).number == 9


def test_own_rules_replace_those_of_groups():
    group = "@file-io" if "@file-io" in groups.groups() else sorted(groups.groups())[0]
    member = next(one.name for one in groups.expand(group) if not one.conditions and one.name in syscalls.numbers(X86))
    grouped = rule("allow", name=group)
    assert action(answers(grouped).of(member, {})) == "allow"
    assert action(answers(grouped, rule("kill", name=member)).of(member, {})) == "kill"
    assert action(answers(rule("kill", name=group), rule("log", name=member)).of(member, {})) == "log"
    # Where two groups hold a name, the more restrictive counts, whatever their order.
    both = [grouped, rule("trap", name=group)]
    assert [action(answers(*order).of(member, {})) for order in itertools.permutations(both)] == ["trap", "trap"]


def test_rules_for_some_containers_are_no_answer_of_the_policy():
    sometimes = rule("allow", includes=Applies(capabilities=("CAP_SYS_ADMIN",)))
    assert action(answers(sometimes).of("read", {})) == "deny"
    assert action(answers(rule("allow", excludes=Applies(min_kernel="5.0"))).of("read", {})) == "deny"
    assert action(answers(rule("allow")).of("read", {})) == "allow"


def test_call_can_pass_where_only_some_of_its_arguments_are_refused():
    # All but AF_NETLINK: a recording that made sockets of another family is admitted.
    made = answers(rule("allow"), rule("deny", equal(0, 16)))
    assert action(made.possible("read", {})) == "allow"
    assert action(made.possible("read", {0: 2})) == "allow"
    assert action(made.possible("read", {0: 16})) == "deny"
    # Another argument may be what is refused, or not.
    both = answers(rule("allow"), rule("deny", equal(0, 16), equal(1, 3)))
    assert action(both.possible("read", {0: 16})) == "allow"
    assert action(both.possible("read", {0: 16, 1: 3})) == "deny"
    opened = answers(rule("allow", equal(0, 16)))
    assert (action(opened.possible("read", {})), action(opened.possible("read", {0: 1}))) == ("allow", "deny")


def test_constraints_that_no_filter_holds_are_refused():
    with pytest.raises(BadInput, match="no filter can read"):
        answers(rule("allow", Constraint(0, ArgType.PATH, allowed=("1",))))


_tests = st.builds(equal, st.integers(0, 1), st.integers(0, 2))
_rules = st.builds(lambda one, tests: rule(one, *tests), st.sampled_from(Action), st.lists(_tests, max_size=2))


def _one_plain(rules):
    plain = [one for one in rules if not one.constraints][:1]
    return [one for one in rules if one.constraints] + plain


@settings(max_examples=300)
@given(st.lists(_rules, max_size=5).map(_one_plain), st.sampled_from(Action), st.randoms())
def test_precedence_is_as_it_is_written(rules, default, random):
    order = ["allow", "log", "trace", "notify", "deny", "trap", "kill_thread", "kill"]
    made = answers(*rules, default=default)
    shuffled = list(rules)
    random.shuffle(shuffled)
    again = answers(*shuffled, default=default)
    for first, second in itertools.product(range(4), repeat=2):
        values = {0: first, 1: second}
        plain = next((one.action.value for one in rules if not one.constraints), default.value)
        holding = [
            order.index(one.action.value)
            for one in rules
            if one.constraints and all(values[test.arg] == test.value for test in one.constraints)
        ]
        base = order.index(plain)
        worse = [one for one in holding if one > base]
        expected = order[max(worse)] if worse else order[min([*holding, base])]
        assert action(made.of("read", values)) == expected
        assert again.of("read", values) == made.of("read", values)
        # What is possible is never worse than what is.
        for some in ({}, {0: first}, {1: second}, values):
            assert made.possible("read", some) <= made.of("read", values)
        assert made.possible("read", values) == made.of("read", values)


@given(any_rules(), st.randoms())
def test_order_of_any_rules_does_not_matter(rules, random):
    shuffled = list(rules)
    random.shuffle(shuffled)
    first, second = (entries(Policy(syscalls=tuple(one))) for one in (rules, shuffled))
    assert first.keys() == second.keys()
    for name in first:
        settings_ = Settings()
        assert Answer.of(first[name].plain, settings_) == Answer.of(second[name].plain, settings_)
        assert set(first[name].constrained) == set(second[name].constrained)
    assert not any(one.is_group for one in expanded(rules, X86))
