"""Which call followed which → the machine of a policy."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import app, as_bytes, call

from scmm_oci.capture import file
from scmm_oci.capture.facts import Edges, Stage
from scmm_oci.capture.model import Source
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.policy.machine import Event, Kind, Machine
from scmm_oci.policy.model import WatchAction
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

NR = syscalls.numbers("x86_64")
CALLS = ("read", "write", "openat")
STARTING, LISTENING, ACCEPTING = Stage


def number(word):
    """A call without classes is a number in captures."""
    return NR.get(word, word)


def edges(*walks, stage=None, arch=Arch.X86_64, deep=False):
    """Edges of pairs and triples, as words; without triples unless deep says that they were recorded."""
    walks = [tuple(map(number, one)) for one in walks]
    key = lambda walk: [(isinstance(one, int), str(one)) for one in walk]  # noqa: E731
    pairs = tuple(sorted({one for one in walks if len(one) == 2}, key=key))
    triples = tuple(sorted({one for one in walks if len(one) == 3}, key=key))
    return Edges(arch, pairs, stage, triples if deep or triples else None)


def recorded(*order, name="a", calls=CALLS, source=Source.COMMAND):
    """A capture with this order."""
    base = file.parse(as_bytes(app(*map(call, calls), name=name, order=[])))
    return replace(base, order=order, source=source)


def capture(*walks, name="a", **changes):
    return recorded(edges(*walks, **changes), name=name)


def decided(**choices):
    return Decisions(transitions=True, **choices)


def made(*captures, **choices):
    """What is inferred; the policy is one that can be written and read."""
    result = infer(list(captures), decided(**choices))
    assert document.parse(document.dump(result.policy)) == result.policy
    return result


def rows(transitions):
    return {(one.before, one.call) if one.before else one.call: one.to for one in transitions}


def transitions(*captures, **choices):
    result = made(*captures, **choices)
    return rows(result.policy.transitions), result


def messages(result, code):
    return [one.message for one in result.findings if one.code == code]


def problems(*captures, **choices):
    with pytest.raises(BadInput) as raised:
        infer(list(captures), decided(**choices))
    return [str(one) for one in raised.value.problems]


def test_transitions_are_by_name_with_beginnings_first():
    found, result = transitions(
        capture(("write", "read"), ("start", "openat"), ("openat", "write"), ("openat", "read"), ("foreign", "read"))
    )
    assert found == {"start": ("openat",), "foreign": ("read",), "openat": ("read", "write"), "write": ("read",)}
    assert list(found) == ["start", "foreign", "openat", "write"]
    assert not messages(result, "transitions-left-out")


def test_captures_add_up_and_nothing_is_invented():
    found, _ = transitions(capture(("start", "read"), ("read", "write")), capture(("signal", "write"), name="b"))
    assert found == {"start": ("read",), "signal": ("write",), "read": ("write",)}


def test_what_has_no_name_is_told():
    found, result = transitions(recorded(Edges(Arch.X86_64, (("start:exec", 0), (0, 501), ("foreign", 0)))))
    assert found == {"start": ("read",), "foreign": ("read",)}
    assert messages(result, "transitions-left-out") == ["transitions with calls that have no name: 501"]


def test_other_abis_are_told():
    found, result = transitions(capture(("start", 3), arch=Arch.X86))
    assert found == {}
    assert messages(result, "transitions-left-out") == ["transitions of x86 calls are not in the policy"]


def test_only_if_decided():
    result = infer([capture(("start", "read"))])
    assert (result.policy.transitions, result.policy.serving, result.policy.watch) == (None, None, None)
    assert result.machine is None and not messages(result, "order-estimate")


CLASSES = (
    ("start:exec", "openat:read"),
    ("start:fork", "read"),
    ("openat:read", "read"),
    ("read", "openat:write"),
    ("openat:write", "write"),
)


def test_classes_and_beginnings_are_coarse_unless_refined():
    coarse, _ = transitions(capture(*CLASSES))
    assert coarse == {"start": ("openat", "read"), "openat": ("read", "write"), "read": ("openat",)}
    fine, result = transitions(capture(*CLASSES), refine=True)
    assert fine == {
        "start:exec": ("openat:read",),
        "start:fork": ("read",),
        "openat:read": ("read",),
        "openat:write": ("write",),
        "read": ("openat:write",),
    }
    assert not messages(result, "class-not-known")


def test_a_class_that_is_not_known_is_all_of_them_and_is_told():
    old = recorded(Edges(Arch.X86_64, (("start", NR["openat"]), (NR["openat"], NR["write"]))), name="old")
    fine, result = transitions(capture(*CLASSES), old, refine=True)
    assert (fine["openat:read"], fine["openat:write"]) == (("read", "write"), ("write",))
    assert fine["start:exec"] == fine["start:thread"] == ("openat",) and fine["start:fork"] == ("openat", "read")
    (message,) = messages(result, "class-not-known")
    assert message == "classes of openat, start were not recorded in 'old': what followed one may follow all of them"
    assert not messages(transitions(capture(*CLASSES), old)[1], "class-not-known")


def test_a_capture_without_order_is_told():
    _, result = transitions(capture(("start", "read")), recorded(name="b"))
    assert messages(result, "no-order") == ["no order of calls was recorded in 'b'"]


HISTORY = (
    ("start:exec", "read"), ("read", "write"), ("write", "read"), ("write", "close"), ("read", "read"),
    ("start:exec", "read", "write"), ("read", "write", "read"), ("write", "read", "write"), ("read", "write", "close"),
    ("openat:read", "read"), ("read", "close"), ("openat:read", "read", "close"), ("close", "openat:read"),
    ("write", "close", "openat:read"), ("close", "openat:read", "read"), ("read", "close", "openat:read"),
)  # fmt: skip


def test_histories_are_kept_where_they_make_less_possible():
    plain, _ = transitions(capture(*HISTORY), refine=True)
    assert not [key for key in plain if isinstance(key, tuple)]
    deep, _ = transitions(capture(*HISTORY), refine=True, depth=3)
    assert {key: to for key, to in deep.items() if not isinstance(key, tuple)} == plain
    # What came after write alone, close alone and the rest: of read all of these differ from read's own row.
    assert {key: to for key, to in deep.items() if isinstance(key, tuple)} == {
        ("openat:read", "read"): ("close",),
        ("start:exec", "read"): ("write",),
        ("write", "read"): ("write",),
    }


def test_depth_three_needs_histories():
    shallow = capture(("start:exec", "read"), name="flat")
    (problem,) = problems(capture(*HISTORY), shallow, depth=3)
    assert problem.startswith("capture 'flat': does not tell what came before two calls (record it with scmm record")
    assert "scmm.depth=3" in problem
    (problem,) = problems(replace(shallow, source=Source.STRACE), depth=3)
    assert "import the trace anew" in problem
    assert transitions(shallow)[0] == {"start": ("read",)}
    # A recording of which nothing is known but that it has no triples is one that has them.
    assert transitions(capture(("start:exec", "read"), deep=True), depth=3)[0] == {"start": ("read",)}


def server(*, name="web", accepts="accept4", **changes):
    """A server that begins, listens and serves, and a process of it that never gets there."""
    order = (
        edges(("start:exec", "openat:read"), ("openat:read", "listen"), ("start:fork", "write"), stage=STARTING),
        edges(("listen", accepts), stage=LISTENING),
        edges((accepts, "read"), ("read", "write"), ("write", accepts), stage=ACCEPTING),
    )
    return recorded(*order, name=name, calls=("openat", "listen", accepts, "read", "write"), **changes)


def test_serving_begins_with_listen():
    result = made(server(), serving_from=("listen",), watch=WatchAction.KILL)
    assert rows(result.policy.transitions) == {"start": ("openat", "write"), "openat": ("listen",)}
    assert result.policy.serving.calls == ("listen",) and result.policy.watch is WatchAction.KILL
    assert rows(result.policy.serving.transitions) == {
        "listen": ("accept4",),
        "accept4": ("read",),
        "read": ("write",),
        "write": ("accept4",),
    }
    alone = made(server())
    assert alone.policy.serving is None and len(rows(alone.policy.transitions)) == 6


def test_serving_begins_with_accept():
    result = made(server(), serving_from=("accept4",))
    assert rows(result.policy.transitions)["listen"] == ("accept4",)
    assert "listen" not in rows(result.policy.serving.transitions)
    (problem,) = problems(server(), serving_from=("accept",))
    assert problem.startswith("serving_from: programs made accept4 as well") and "name accept4 too" in problem
    both = made(server(), server(name="old", accepts="accept"), serving_from=("accept", "accept4"))
    assert rows(both.policy.serving.transitions)["accept"] == ("read",)


def test_one_that_was_given_its_socket_never_listens():
    given = recorded(
        edges(("start:exec", "accept4"), stage=STARTING),
        edges(("accept4", "read"), stage=ACCEPTING),
        calls=("accept4", "read"),
    )
    (problem,) = problems(given, serving_from=("listen",))
    assert "in no recording did a process go on after listen" in problem
    result = made(given, server(), serving_from=("listen",))
    assert rows(result.policy.transitions)["accept4"] == ("read",)
    assert "start" not in rows(result.policy.serving.transitions)


def test_what_recordings_cannot_tell_about_serving():
    flat = capture(("start:exec", "read"), name="old")
    (problem,) = problems(server(), flat, serving_from=("listen",))
    assert problem.startswith("capture 'old': does not tell what processes did before and after they served (record")
    strange, staged = problems(replace(flat, source=Source.STRACE), serving_from=("epoll_wait",))
    assert strange.startswith("serving_from: recordings do not tell when a process makes 'epoll_wait' (known: listen,")
    assert "two captures" in strange and "import the trace anew" in staged
    assert "two captures" not in problems(server(), serving_from=("epoll_wait",))[0]
    (problem,) = problems(recorded(edges(("start:exec", "read"), stage=STARTING)), serving_from=("listen",))
    assert "in no recording did a process go on after listen" in problem
    with pytest.raises(BadInput, match="did you mean 'listen'"):
        infer([server()], decided(serving_from=("lisen",)))
    with pytest.raises(BadInput, match="4 is not a depth"):
        infer([server()], decided(depth=4))


def test_the_estimate_is_told():
    same = [capture(("start", "read"), name=name) for name in "abc"]
    _, result = transitions(*same)
    assert (result.machine.found.recordings, result.machine.found.chance) == (3, 0)
    assert "none of the 3 recordings" in messages(result, "order-estimate")[0]
    _, result = transitions(*same, capture(("start", "write"), name="d"))
    assert (result.machine.found.chance, result.machine.found.new) == (0.25, (1, 0, 0, 1))
    assert "nothing can be said" in messages(transitions(same[0])[1], "order-estimate")[0]


def test_an_edge_that_was_seen_before_serving_is_new_while_serving():
    result = made(server(), server(name="b"), serving_from=("listen",))
    assert (result.machine.found.observed, result.machine.found.once) == (7, 0)
    other = recorded(*(replace(one, stage=STARTING) for one in server().order[1:]), name="c", calls=("listen",))
    assert made(server(), server(name="b"), other, serving_from=("listen",)).machine.found.once == 4
    assert made(server(), server(name="b"), other).machine.found.once == 0


def test_transitions_are_of_the_systems_that_were_recorded():
    _, result = transitions(capture(("start", "read")), portable=True)
    assert len(messages(result, "order-not-portable")) == 1
    assert not messages(transitions(capture(("start", "read")))[1], "order-not-portable")


# read and recvfrom are followed by the same four calls, but for one.
TWINS = [
    ("start", "read"), *(("read", to) for to in ("write", "close", "lseek", "poll", "getpid")),
    ("start", "recvfrom"), *(("recvfrom", to) for to in ("write", "close", "lseek", "poll")),
]  # fmt: skip


def test_likely_steps_are_offered_and_taken_only_if_asked():
    captures = [capture(*TWINS, name=name) for name in "abc"]
    plain, result = transitions(*captures)
    assert "getpid" not in plain["recvfrom"]
    (message,) = messages(result, "likely-left-out")
    assert message == "1 step is likely though no recording has them, such as recvfrom > getpid"
    found, result = transitions(*captures, likely=3)
    assert found["recvfrom"] == (*plain["recvfrom"][:1], "getpid", *plain["recvfrom"][1:])
    assert {**found, "recvfrom": plain["recvfrom"]} == plain
    (message,) = messages(result, "likely-accepted")
    assert message.startswith("no recording has recvfrom > getpid, and it is allowed: read > getpid is in 3 of the")
    assert not messages(result, "likely-left-out")
    assert [str(one) for one in result.machine.accepted] == ["recvfrom > getpid"]
    assert transitions(*captures, likely=4)[0] == plain


def test_what_is_likely_is_so_after_every_history():
    deep = [*TWINS, ("start", "recvfrom", "close"), ("start", "read", "close")]
    captures = [capture(*deep, name=name) for name in "ab"]
    before, _ = transitions(*captures, depth=3)
    after, _ = transitions(*captures, depth=3, likely=2)
    assert (before["start", "recvfrom"], after["start", "recvfrom"]) == (("close",), ("close", "getpid"))
    assert before["start", "read"] == after["start", "read"] == ("close",)


WORDS = ("read", "openat:read", "openat:write", "close", "mmap:exec", "mmap:data")


@st.composite
def threads(draw):
    """What threads of one process do: programs, calls and handlers, without ends of these."""
    return draw(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), min_size=1, max_size=4))


def record(traces, name="a"):
    """What the recorder would keep of them: docs/formats.md, order."""
    walks = set()
    for trace in traces:
        last, before = states.EXEC, None
        for word in trace:
            walks.add((last, word))
            if word != last:
                walks |= {(before, last, word)} if before is not None else set()
                last, before = word, last
    return capture(*walks, name=name, deep=True)


@settings(max_examples=60, deadline=None)
@given(threads(), threads(), st.booleans(), st.sampled_from([2, 3]), st.sampled_from([0, 1]))
def test_what_was_recorded_never_is_a_violation(first, second, refine, depth, likely):
    result = made(record(first), record(second, name="b"), refine=refine, depth=depth, likely=likely)
    machine = Machine.of(result.policy, Arch.X86_64)
    for trace in (*first, *second):
        events = [Event(1, Kind.EXEC), *(Event(1, Kind.CALL, call=word) for word in trace)]
        assert machine.run(events) == []


@settings(max_examples=60, deadline=None)
@given(threads(), threads(), st.sampled_from([2, 3]))
def test_a_refined_machine_allows_what_was_recorded_and_no_more(first, trace, depth):
    """Each step of any trace is a violation exactly if its walk was not recorded."""
    known = record(first)
    result = made(known, refine=True, depth=depth)
    machine = Machine.of(result.policy, Arch.X86_64)
    (order,) = known.order
    name = {NR[word]: word for word in NR}
    pairs = {tuple(name.get(one, one) for one in pair) for pair in order.pairs}
    triples = {tuple(name.get(one, one) for one in triple) for triple in order.triples}
    histories = {one[:2] for one in triples}
    for one in trace:
        found = machine.run([Event(1, Kind.EXEC), *(Event(1, Kind.CALL, call=word) for word in one)])
        wrong, last, before = set(), states.EXEC, None
        for index, word in enumerate(one, start=1):
            good = (last, word) in pairs
            if depth == 3 and word != last and (before, last) in histories:
                good = (before, last, word) in triples
            wrong |= set() if good else {index}
            last, before = (last, before) if word == last else (word, last)
        assert {violation.index for violation in found} == wrong


@settings(max_examples=30)
@given(st.lists(threads(), min_size=1, max_size=4), st.booleans(), st.sampled_from([2, 3]), st.randoms())
def test_the_order_of_captures_does_not_matter(recordings, refine, depth, chance):
    captures = [record(one, name=str(number)) for number, one in enumerate(recordings)]
    first = made(*captures, refine=refine, depth=depth)
    chance.shuffle(captures)
    again = made(*captures, *captures[:1], refine=refine, depth=depth)
    assert (again.policy, again.findings, again.machine) == (first.policy, first.findings, first.machine)


def test_a_machine_of_the_whole_square_is_made_soon():
    words = sorted(set(states.numbers(Arch.X86_64)) - set(states.BEGINNINGS))[:300]
    chance = random.Random(1)
    walks = [(a, b) for a in words for b in words if chance.random() < 0.9]
    result = made(capture(*walks), refine=True)
    assert result.machine.starting.share == pytest.approx(0.9, abs=0.01) and result.machine.likely == ()
