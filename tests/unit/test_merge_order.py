"""Transitions, serving and watch of several policies joined: a union loses no run, an intersection wins none."""

from hypothesis import given, settings
from hypothesis import strategies as st
from order_samples import servings, traces, transitions

from scmm_oci.policy import document, order
from scmm_oci.policy.machine import Event, Kind, Machine
from scmm_oci.policy.merge import canonical, difference, intersection, union
from scmm_oci.policy.merge.order import less
from scmm_oci.policy.model import Policy, Serving, Settings, Transition, WatchAction
from scmm_oci.tables.arch import Arch


def T(key, *to):
    return Transition.of(key, to)


def policy(*given, serving=None, watch=None, arches=(Arch.X86_64,)):
    return Policy(settings=Settings(architectures=arches), transitions=given, serving=serving, watch=watch)


@st.composite
def policies(draw):
    following, serving = draw(st.none() | transitions), draw(st.none() | servings)
    return Policy(transitions=following, serving=serving)


def allows(one, trace, attached):
    machine = Machine.of(one)
    return machine is None or machine.run(trace, attached=attached) == []


def told(merged):
    return {one.code for one in merged.findings}


@settings(max_examples=300, deadline=None)
@given(st.lists(policies(), min_size=1, max_size=3), traces(), st.booleans())
def test_what_a_policy_allows_the_union_does_and_what_one_refuses_the_intersection_does(given, trace, attached):
    each = [allows(one, trace, attached) for one in given]
    if any(each):
        assert allows(union(given).policy, trace, attached)
    if not all(each):
        assert not allows(intersection(given).policy, trace, attached)


@settings(max_examples=200, deadline=None)
@given(policies(), traces(), st.booleans())
def test_the_canonical_form_says_the_same(given, trace, attached):
    assert allows(canonical(given), trace, attached) == allows(given, trace, attached)


def edges(one, *, serving):
    """What a policy allows in a phase, by history: or None for everything."""
    machine = Machine.of(one)
    held = machine.table(serving) if machine is not None else None
    if held is None:
        return None
    single = {
        state
        for word in ("read", "openat", "close", "listen", "accept4", "start", "signal")
        for state in (order.calls(word) if word not in ("start", "signal") else [word])
    } | {"start:exec"}
    return {
        (before, state, to)
        for before in [None, *single]
        for state in single
        for to in single
        if before != state and held.allows(before, state, to)
    }


@settings(max_examples=200, deadline=None)
@given(policies(), policies())
def test_policies_that_serve_by_the_same_calls_are_joined_exactly(a, b):
    if a.serving and b.serving and set(a.serving.calls) != set(b.serving.calls):
        assert "serving-wider" in told(union([a, b])) or Machine.of(union([a, b]).policy) is None
        assert "serving-narrower" in told(intersection([a, b]))
        return
    both, common = union([a, b]), intersection([a, b])
    assert not told(both) & {"serving-wider"} and not told(common) & {"serving-narrower"}
    for serving in (False, True):
        first, second = edges(a, serving=serving), edges(b, serving=serving)
        any_ = edges(both.policy, serving=serving)
        assert any_ == (None if first is None or second is None else first | second)
        all_ = edges(common.policy, serving=serving)
        assert all_ == (second if first is None else first if second is None else first & second)


def test_a_history_of_one_policy_stands_beside_the_row_of_the_other():
    a = policy(T("connect", "sendto"), T("sendto", "close", "read"), T("connect > sendto", "read"))
    b = policy(T("sendto", "close"))
    assert union([a, b]).policy.transitions == (T("connect", "sendto"), T("sendto", "close", "read"))
    assert intersection([a, b]).policy.transitions == (T("sendto", "close"), T("connect > sendto"))
    c = policy(T("sendto", "write"))
    assert union([a, c]).policy.transitions == (
        T("connect", "sendto"),
        T("sendto", "close", "read", "write"),
        T("connect > sendto", "read", "write"),
    )
    assert union([a, c]).findings == intersection([a, c]).findings == ()


def test_classes_join_to_their_call_and_a_call_is_cut_to_classes():
    a, b = policy(T("start", "openat:read"), T("openat", "read")), policy(T("start", "openat:write"))
    assert union([a, b]).policy.transitions == (T("openat", "read"), T("start", "openat"))
    assert intersection([a, policy(T("start:exec", "openat"))]).policy.transitions == (T("start:exec", "openat:read"),)
    grouped = policy(T("@timer", "@timer"))
    assert intersection([grouped, policy(T("alarm", "pause", "alarm"))]).policy.transitions == (T("alarm", "alarm"),)


SERVING = Serving(("listen",), (T("listen", "accept4"),))


def test_a_policy_without_serving_goes_on_as_before():
    a = policy(T("start", "socket", "listen"), serving=SERVING)
    b = policy(T("listen", "close"))
    both = union([a, b])
    assert both.policy.serving == Serving(("listen",), (T("listen", "accept4", "close"),))
    assert both.policy.transitions == (T("listen", "close"), T("start", "listen", "socket"))
    assert told(both) == set()
    assert intersection([a, b]).policy.serving == Serving(("listen",), ())


def test_policies_that_serve_by_different_calls():
    a = policy(T("start", "listen"), T("listen", "accept4"), serving=SERVING)
    b = policy(T("start", "accept4"), serving=Serving(("accept4",), (T("accept4", "read"),)))
    both = union([a, b])
    assert told(both) == {"serving-wider"}
    # Whoever still starts when the other serves is not refused.
    assert both.policy.serving == Serving(
        ("accept4", "listen"), (T("accept4", "read"), T("listen", "accept4"), T("start", "accept4", "listen"))
    )
    assert told(intersection([a, b])) == {"serving-narrower"}
    assert intersection([a, b]).policy.serving == Serving(("accept4", "listen"), ())


def test_what_a_watch_does_is_the_mildest_or_the_most_severe():
    row = T("read", "read")
    one = {action: policy(row, watch=action) for action in (None, *WatchAction)}
    for actions, mildest, worst in (
        (("count", "kill"), "count", "kill"),
        (("freeze", None), None, "freeze"),
        ((None, "count"), "count", None),
        ((None, "alert"), "alert", "alert"),
        ((None, None), None, None),
    ):
        given = [one[action] for action in actions]
        assert union(given).policy.watch == mildest
        assert intersection(given).policy.watch == worst
    # Who has no transitions has nothing to be watched, and no say.
    assert intersection([one[WatchAction.KILL], Policy()]).policy.watch is WatchAction.KILL
    dropped = union([one[WatchAction.KILL], Policy()])
    assert (dropped.policy.watch, dropped.policy.transitions, told(dropped)) == (None, None, {"not-spoken-of"})


def test_what_is_not_spoken_of_is_told_once():
    silent = Policy()
    late = Policy(serving=SERVING)
    assert [one.message.split(",")[0] for one in union([silent, late]).findings] == ["a policy has no serving"]
    early = policy(T("start", "read"))
    assert [one.message.split(",")[0] for one in union([early, late]).findings] == ["a policy has no transitions"]
    assert [one.message.split(",")[0] for one in union([silent, early]).findings] == ["a policy has no transitions"]
    assert union([early, early]).findings == ()


def test_calls_of_an_abi_that_only_one_policy_is_for():
    wide = policy(
        T("mmap2", "read"), T("mmap2:exec > read", "close"), T("read", "mmap2", "close"), arches=(Arch.X86_64, Arch.X86)
    )
    narrow = policy(T("read", "close", "write"))
    common = intersection([wide, narrow]).policy
    assert common.transitions == (T("read", "close"),)
    assert document.parse(document.dump(common)) == common
    both = union([wide, narrow]).policy
    assert document.parse(document.dump(both)) == both


@settings(max_examples=100, deadline=None)
@given(policies(), policies())
def test_a_difference_and_the_second_policy_are_the_first_one(a, b):
    assert difference(a, a).policy.transitions is None and difference(a, a).policy.serving is None
    rest = difference(a, b).policy
    assert document.parse(document.dump(rest)) == rest
    if a.transitions is None or b.transitions is None:
        assert rest.transitions is None
        return
    first, second = (order.table(one.transitions) for one in (a, b))
    more = order.table(rest.transitions or ())
    for before, state, to in edges(a, serving=False) or ():
        assert second.allows(before, state, to) != more.allows(before, state, to), (before, state, to)
    assert less(first, first).called == frozenset()


def test_differences_of_serving_and_watch_are_told():
    a = policy(T("start", "read"), serving=Serving(("listen",), (T("listen", "close", "read"),)), watch=None)
    b = policy(
        T("start", "read", "write"), serving=Serving(("accept4",), (T("listen", "read"),)), watch=WatchAction.KILL
    )
    rest = difference(a, b)
    assert told(rest) == {"serving-differs", "watch-milder"}
    assert (rest.policy.transitions, rest.policy.serving) == (None, Serving(("listen",), (T("listen", "close"),)))
    assert told(difference(b, a)) == {"serving-differs"}
    assert told(difference(Policy(), b)) == {"not-spoken-of"}


def test_the_oracle_can_refuse():
    # Control for the laws above: not every machine allows every trace.
    assert not allows(policy(T("start", "read")), [Event(1, Kind.CALL, "close")], False)
