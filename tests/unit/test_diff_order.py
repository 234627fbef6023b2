"""What another policy says differently of the order of calls: by state and phase, and what of it is wider."""

from hypothesis import given, settings
from hypothesis import strategies as st
from order_samples import servings, traces, transitions

from scmm_oci.policy.diff import differences
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.merge import canonical
from scmm_oci.policy.model import Policy, Serving, Transition, WatchAction


def T(key, *to):
    return Transition.of(key, to)


def policy(*given, serving=None, watch=None):
    return Policy(transitions=given, serving=serving, watch=watch)


def told(first, second):
    return [
        (one.section, one.what, one.kind.value, one.before, one.after, one.wider) for one in differences(first, second)
    ]


@st.composite
def policies(draw):
    return Policy(transitions=draw(st.none() | transitions), serving=draw(st.none() | servings))


@settings(max_examples=300, deadline=None)
@given(policies(), policies(), traces())
def test_what_becomes_allowed_is_a_wider_difference_and_what_no_longer_is_a_difference(a, b, trace):
    def allows(one):
        machine = Machine.of(one)
        return machine is None or machine.run(trace) == []

    found = differences(a, b)
    if allows(b) and not allows(a):
        assert any(one.wider for one in found)
    if allows(a) != allows(b):
        assert found
    assert differences(a, a) == () == differences(a, canonical(a)) == differences(canonical(a), a)
    assert bool(differences(b, a)) == bool(found)


def test_a_class_of_a_call_is_shown_beside_the_call():
    a, b = policy(T("start", "openat", "read")), policy(T("start", "openat:read", "close"))
    assert told(a, b) == [("transitions", "start", "changed", "openat, read", "close, openat:read", True)]
    assert told(policy(T("start", "openat")), policy(T("start", "openat:read"))) == [
        ("transitions", "start", "changed", "openat", "openat:read", False)
    ]
    # Of states as well: what has changed alike is one, whatever it was.
    c, d = policy(T("openat", "read")), policy(T("openat:read", "read"))
    assert told(c, d) == [("transitions", "openat:write", "gone", "read", "–", False)]
    assert told(policy(T("openat", "read"), T("openat:read", "close")), policy()) == [
        ("transitions", "openat:read", "gone", "close, read", "–", False),
        ("transitions", "openat:write", "gone", "read", "–", False),
    ]
    assert told(policy(), c) == [("transitions", "openat", "new", "–", "read", True)]


def test_how_it_is_written_is_no_difference():
    a = policy(T("start", "read"), T("openat", "read"), T("connect > sendto", "read"), T("sendto", "read", "close"))
    b = policy(
        T("openat:read", "read"),
        T("start:exec", "read"),
        T("sendto", "close", "read"),
        T("openat:write", "read"),
        T("start:fork", "read"),
        T("start:thread", "read"),
        T("connect > sendto", "read"),
        T("accept > sendto", "close", "read"),
    )
    assert told(a, b) == []
    assert told(policy(T("start", "@timer")), canonical(policy(T("start", "@timer")))) == []


def test_histories():
    row = T("sendto", "read", "close")
    a, b = policy(row), policy(row, T("connect > sendto", "read"))
    assert told(a, b) == [("transitions", "connect > sendto", "changed", "close", "–", False)]
    assert told(b, a) == [("transitions", "connect > sendto", "changed", "–", "close", True)]
    assert told(a, policy(row, T("connect > sendto"))) == [
        ("transitions", "connect > sendto", "gone", "close, read", "–", False)
    ]
    # What the row gains, and with it all histories without a list of their own, is told once.
    more = policy(T("sendto", "read", "close", "write"), T("connect > sendto", "read"))
    assert told(b, more) == [("transitions", "sendto", "changed", "–", "write", True)]


LISTEN = Serving(("listen",), (T("listen", "accept4"),))


def test_serving():
    start = T("start", "listen")
    a, b = policy(start, T("listen", "accept4")), policy(start, T("listen", "accept4"), serving=LISTEN)
    assert told(a, b) == [
        ("serving", "serving", "new", "–", "from listen", False),
        ("serving", "start", "gone", "listen", "–", False),
    ]
    assert told(b, a) == [
        ("serving", "serving", "gone", "from listen", "–", True),
        ("serving", "start", "new", "–", "listen", True),
    ]
    wider = policy(start, T("listen", "accept4"), serving=Serving(("listen",), (T("listen", "accept4", "read"),)))
    assert told(b, wider) == [("serving", "listen", "changed", "–", "read", True)]
    # Serving by which nothing changes is none.
    assert told(a, policy(start, T("listen", "accept4"), serving=Serving(("listen",), a.transitions))) == []


def test_calls_that_serving_begins_with():
    table = (T("listen", "accept4"),)
    sooner = policy(*table, T("start", "listen", "read"), serving=Serving(("listen", "read"), table))
    later = policy(*table, T("start", "listen", "read"), serving=Serving(("listen",), table))
    # Whoever does not serve yet may do more here.
    assert told(sooner, later) == [("serving", "from", "changed", "listen, read", "listen", True)]
    assert told(later, sooner) == [("serving", "from", "changed", "listen", "listen, read", False)]


def test_watch():
    row = T("start", "read")
    kill, alert = policy(row, watch=WatchAction.KILL), policy(row, watch=WatchAction.ALERT)
    assert told(kill, alert) == told(kill, policy(row)) == [("watch", "watch", "changed", "kill", "alert", True)]
    assert told(alert, kill) == [("watch", "watch", "changed", "alert", "kill", False)]
    assert told(alert, policy(row)) == []


def test_what_is_not_spoken_of():
    silent, late, early = Policy(), Policy(serving=LISTEN), policy(T("start", "read"))
    assert told(silent, early) == [("transitions", "transitions", "new", "–", "after 3 states", False)]
    assert told(early, silent) == [("transitions", "transitions", "gone", "after 3 states", "–", True)]
    assert told(silent, late) == [("serving", "serving", "new", "–", "from listen", False)]
    assert told(late, silent) == [("serving", "serving", "gone", "from listen", "–", True)]
