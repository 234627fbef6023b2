"""A policy's transitions run on what threads do: the semantics that recorder, strace import and watch share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.policy import order
from scmm_oci.policy.machine import Event, Kind, Machine, Violation
from scmm_oci.policy.model import Policy, Serving, Settings, Transition
from scmm_oci.tables.arch import Arch


def T(key, *to):
    before, _, call = key.rpartition(" > ")
    return Transition(call, to, before)


def machine(*transitions, serving=None, arch=Arch.X86_64):
    found = Machine.of(
        Policy(settings=Settings(arch=arch, architectures=(arch,)), transitions=transitions, serving=serving)
    )
    assert found is not None
    return found


def calls(*names, thread=1):
    return [Event(thread, Kind.CALL, name) for name in names]


def edges(found):
    return [(one.state, one.to) for one in found]


ECHO = (T("start", "brk"), T("brk", "brk", "write"), T("write", "exit_group"))


def test_a_thread_goes_from_call_to_call():
    assert machine(*ECHO).run(calls("brk", "brk", "write", "exit_group")) == []
    found = machine(*ECHO).run(calls("brk", "socket:inet", "write", "exit_group"))
    # What follows is judged by what was made, not by what should have been.
    assert found == [
        Violation(1, 1, False, "start:exec", "brk", "socket:inet"),
        Violation(2, 1, False, "brk", "socket:inet", "write"),
    ]


def test_a_policy_without_transitions_has_no_machine():
    assert Machine.of(Policy()) is None
    empty = machine()
    assert edges(empty.run(calls("brk"))) == [("start:exec", "brk")]


def test_classes_are_states_of_their_own():
    one = machine(T("start", "openat:read"), T("openat:write", "write"), T("openat:read", "read", "openat:write"))
    assert one.run(calls("openat:read", "read")) == []
    assert one.run(calls("openat:read", "openat:write", "write")) == []
    assert edges(one.run(calls("openat:read", "write"))) == [("openat:read", "write")]
    assert edges(one.run(calls("openat:write"))) == [("start:exec", "openat:write")]
    # A call is all its classes, and one whose class is not known is allowed if some class of it is.
    assert machine(T("start", "openat"), T("openat", "read")).run(calls("openat:write", "read")) == []
    assert one.run(calls("openat", "write")) == []
    assert edges(one.run(calls("openat", "close"))) == [("openat", "close")]


def test_programs_processes_and_threads_begin_as_they_do():
    one = machine(
        T("start:exec", "clone"), T("start:fork", "execve"), T("start:thread", "futex"), T("clone", "wait4", "clone")
    )
    trace = [
        *calls("clone"),
        Event(1, Kind.FORK, child=2),
        *calls("execve", thread=2),
        Event(2, Kind.EXEC),
        *calls("clone", thread=2),
        *calls("clone"),
        Event(1, Kind.THREAD, child=3),
        *calls("futex", thread=3),
        *calls("wait4"),
    ]
    assert one.run(trace) == []
    assert edges(one.run([*calls("clone"), Event(1, Kind.FORK, child=2), *calls("futex", thread=2)])) == [
        ("start:fork", "futex")
    ]
    assert edges(one.run([*calls("clone"), Event(1, Kind.THREAD, child=2), *calls("execve", thread=2)])) == [
        ("start:thread", "execve")
    ]


def test_a_number_is_another_thread_after_the_thread_has_ended():
    one = machine(T("start:exec", "read"), T("read", "write"))
    trace = [*calls("read"), Event(1, Kind.EXIT)]
    assert one.run([*trace, *calls("read")]) == []
    assert edges(one.run([*calls("read"), *calls("read")])) == [("read", "read")]


def test_a_handler_begins_anew_and_brings_back_what_it_interrupted():
    one = machine(T("start", "read"), T("read", "write"), T("signal", "getpid"), T("getpid", "rt_sigreturn", "getpid"))
    handled = [Event(1, Kind.SIGNAL), *calls("getpid"), *calls("rt_sigreturn")]
    assert one.run([*calls("read"), *handled, *calls("write")]) == []
    nested = [Event(1, Kind.SIGNAL), *calls("getpid"), *handled, *calls("getpid", "rt_sigreturn")]
    assert one.run([*calls("read"), *nested, *calls("write")]) == []
    # Twin: without the return the handler goes on.
    assert edges(one.run([*calls("read"), Event(1, Kind.SIGNAL), *calls("getpid", "write")])) == [("getpid", "write")]
    assert edges(one.run([*calls("read"), Event(1, Kind.SIGNAL), *calls("rt_sigreturn", "write")])) == [
        ("signal", "rt_sigreturn")
    ]


def test_a_child_of_a_handler_returns_from_it():
    one = machine(
        T("start:exec", "read"), T("signal", "fork"), T("start:fork", "rt_sigreturn"), T("read", "write"), T("fork")
    )
    trace = [*calls("read"), Event(1, Kind.SIGNAL), *calls("fork"), Event(1, Kind.FORK, child=2)]
    assert one.run([*trace, *calls("rt_sigreturn", "write", thread=2)]) == []
    assert edges(one.run([*trace, *calls("write", thread=2)])) == [("start:fork", "write")]


def test_a_program_forgets_what_was_interrupted():
    one = machine(T("start", "read"), T("signal", "execve"), T("read", "rt_sigreturn"))
    trace = [*calls("read"), Event(1, Kind.SIGNAL), *calls("execve"), Event(1, Kind.EXEC), *calls("read")]
    # What follows a return from nothing has no past, so that it may be any call of the machine.
    assert one.run([*trace, *calls("rt_sigreturn", "execve")]) == []
    assert edges(one.run([*trace, *calls("rt_sigreturn", "close")])) == [("any", "close")]


def test_resumed_calls_and_those_of_other_abis():
    one = machine(T("start", "nanosleep"), T("nanosleep", "write"), T("foreign", "read"), T("read"))
    assert one.run(calls("nanosleep", "restart_syscall", "write")) == []
    assert one.run([*calls("nanosleep"), Event(1, Kind.FOREIGN), *calls("read")]) == []
    assert edges(one.run([*calls("nanosleep"), Event(1, Kind.FOREIGN), *calls("write")])) == [("foreign", "write")]


def test_threads_that_were_there_have_no_past():
    one = machine(T("start", "read"), T("read", "write"), T("write", "exit"))
    assert one.run(calls("write", "exit"), attached=True) == []
    assert edges(one.run(calls("close", "exit"), attached=True)) == [("any", "close"), ("close", "exit")]
    assert edges(one.run(calls("write", "exit"))) == [("start:exec", "write")]


DEEP = (
    T("start", "socket", "read"),
    T("socket", "connect"),
    T("connect", "sendto", "read"),
    T("sendto", "recvfrom", "sendto", "close"),
    T("connect > sendto", "recvfrom"),
    T("read", "sendto"),
)


def test_a_history_replaces_the_row():
    one = machine(*DEEP)
    # Repetitions count once, and are a matter of the row.
    assert one.run(calls("socket:inet", "connect", "sendto", "sendto", "recvfrom")) == []
    found = one.run(calls("socket:inet", "connect", "sendto", "sendto", "close"))
    assert found == [Violation(4, 1, False, "connect", "sendto", "close")]
    assert one.run(calls("read", "sendto", "sendto", "close")) == []


def test_no_history_reaches_over_a_beginning():
    one = machine(T("start", "read"), T("read", "write"), T("signal", "read"), T("start > read", "close"), T("write"))
    assert one.run(calls("read", "close")) == []
    assert edges(one.run(calls("read", "write"))) == [("read", "write")]
    # In a handler `read` comes after the handler's beginning.
    assert one.run([*calls("read"), Event(1, Kind.SIGNAL), *calls("read", "write")]) == []
    deep = machine(
        T("start", "read"), T("read > write", "close"), T("read", "write"), T("signal", "write"), T("write", "read")
    )
    assert edges(deep.run([*calls("read"), *calls("write", "read")])) == [("write", "read")]
    assert deep.run([*calls("read"), Event(1, Kind.SIGNAL), *calls("write", "read")]) == []


def test_what_was_interrupted_keeps_its_history():
    one = machine(*DEEP, T("signal", "rt_sigreturn"))
    trace = [*calls("socket:inet", "connect", "sendto"), Event(1, Kind.SIGNAL), *calls("rt_sigreturn")]
    assert edges(one.run([*trace, *calls("close")])) == [("sendto", "close")]
    assert one.run([*trace, *calls("recvfrom")]) == []


SERVING = Serving(("listen",), (T("listen", "accept4"), T("start:thread", "read"), T("start:fork", "read")))
SERVER = (T("start", "socket", "listen"), T("socket", "listen"), T("listen", "clone"), T("clone", "socket"))


def test_a_process_serves_once_it_has_made_the_call():
    one = machine(*SERVER, serving=SERVING)
    assert one.run(calls("socket:inet", "listen", "accept4")) == []
    # The call itself belongs to what was before, and what holds for the start no longer does.
    assert one.run(calls("socket:inet", "listen", "clone"))[0].serving
    assert edges(one.run(calls("listen", "accept4", "socket:inet"))) == [("accept4", "socket:inet")]
    assert edges(one.run(calls("socket:inet", "accept4"))) == [("socket:inet", "accept4")]


def test_serving_is_for_the_process_and_those_it_starts_from_then_on():
    one = machine(*SERVER, T("start:thread", "socket"), serving=SERVING)
    trace = [
        Event(1, Kind.FORK, child=2),
        Event(1, Kind.THREAD, child=3),
        *calls("listen"),
        Event(1, Kind.FORK, child=4),
        *calls("read", thread=4),
        *calls("read", thread=3),
    ]
    assert one.run(trace) == []
    # The process that was made before is at its start, and an executed program still serves.
    assert edges(one.run([*trace, *calls("read", thread=2)])) == [("start:fork", "read")]
    assert one.run([*trace, *calls("socket:inet", thread=2)]) == []
    served = [*calls("listen"), Event(1, Kind.EXEC), *calls("socket:inet")]
    assert [one.serving for one in one.run(served)] == [True]


def test_socketcall_begins_serving_by_what_it_stands_for():
    one = machine(T("start", "socketcall"), T("socketcall", "read"), serving=SERVING, arch=Arch.X86)
    trace = [Event(1, Kind.CALL, "socketcall", meant="listen"), *calls("read")]
    assert [found.serving for found in one.run(trace)] == [True]
    assert one.run([Event(1, Kind.CALL, "socketcall", meant="bind"), *calls("read")]) == []


def test_a_start_that_is_not_judged():
    one = Machine.built(None, SERVING, Arch.X86_64)
    assert one is not None
    assert one.run(calls("getpid", "listen", "accept4")) == []
    assert edges(one.run(calls("getpid", "listen", "getpid"))) == [("listen", "getpid")]


def test_calls_that_an_abi_lacks_are_left_out():
    there = (T("start", "open:read", "openat:read"), T("open", "read"), T("openat", "read"))
    assert edges(machine(*there, arch=Arch.AARCH64).run(calls("openat:read", "read"))) == []
    held = machine(*there, arch=Arch.AARCH64).starting
    assert held is not None
    assert "open:read" not in held.states and "openat:read" in held.states
    # Numbers beyond the tables are no call to them.
    assert machine(T("start", "read"), arch=Arch.ARM).run(calls("set_tls", "read")) == []


def test_the_handler_and_the_call_of_its_name():
    one = machine(T("start", "signal"), T("signal", "read"), T("read"), arch=Arch.X86)
    assert edges(one.run([*calls("signal"), Event(1, Kind.SIGNAL), *calls("read")])) == []
    assert edges(one.run(calls("signal", "read"))) == [("signal()", "read")]
    assert edges(one.run(calls("read", "signal"))) == [("start:exec", "read"), ("read", "signal")]


def test_a_call_of_the_name_signal_begins_the_serving_phase():
    serving = Serving(("signal",), (T("start", "read"),))
    policy = Policy(settings=Settings(arch=Arch.X86, architectures=(Arch.X86,)), serving=serving)
    assert Machine.of(policy).switches == {"signal"}
    assert [one.serving for one in Machine.of(policy).run(calls("write", "signal", "read"))] == [True]


def test_groups_are_all_their_calls():
    one = machine(T("start", "@basic-io"), T("@basic-io", "close"), T("close"))
    assert one.run(calls("read", "close")) == [] == one.run(calls("write", "close"))
    assert edges(one.run(calls("socket:inet"))) == [("start:exec", "socket:inet")]


CALLS = ["read", "openat:read", "openat:write", "openat", "close"]
BEGINNINGS = ["start", "start:exec", "start:fork", "start:thread", "signal", "foreign"]
lists = st.lists(st.sampled_from(CALLS), unique=True, max_size=4).map(tuple)
rows = st.builds(Transition, st.sampled_from([*CALLS, *BEGINNINGS]), lists)
histories = st.builds(Transition, st.sampled_from(CALLS), lists, st.sampled_from([*CALLS, *BEGINNINGS]))


def allowed(given):
    """The meaning of transitions: what may follow each state with each history."""
    held = order.table(given)
    single = [one for word in CALLS for one in order.calls(word)]
    befores = [None, *single, "start:exec", "start:fork", "start:thread", "signal", "foreign"]
    return {
        (before, state, to)
        for before in befores
        for state in [*single, *befores[-5:]]
        for to in single
        if before != state and held.allows(before, state, to)
    }


@given(st.lists(rows | histories, max_size=8))
def test_taken_apart_and_put_together_means_the_same(given):
    joined = order.transitions(order.table(given))
    assert allowed(joined) == allowed(given)
    assert order.transitions(order.table(joined)) == joined
    assert order.transitions(order.table(list(reversed(given)))) == joined


def test_words_stand_for_all_that_is_there():
    assert order.words(["openat:read", "close", "openat:write"]) == ("close", "openat")
    assert order.words(["openat:read", "mmap:exec"]) == ("mmap:exec", "openat:read")
    split = order.transitions(order.table([T("openat", "read"), T("openat:write", "write"), T("start", "close")]))
    assert split == (T("openat:read", "read"), T("openat:write", "read", "write"), T("start", "close"))


@pytest.mark.parametrize(
    ("given", "states", "edges_", "share"),
    [
        ((), 0, 0, 0.0),
        ((T("read", "read"),), 1, 1, 1.0),
        ((T("start:exec", "read"), T("read", "write", "read"), T("start:exec > read", "close")), 4, 4, 0.25),
    ],
)
def test_shares_of_the_square(given, states, edges_, share):
    held = order.table(given)
    assert (len(held.states), len(held.edges), held.share) == (states, edges_, share)
