"""What a watch is to do, from a policy to numbers in a file: classes, beginnings, phases, what was before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.compiled import polfile
from scmm_oci.compiled.machines import machines
from scmm_oci.compiled.polfile import codes
from scmm_oci.compiled.polfile.layout import ACTIONS
from scmm_oci.compiled.polfile.model import (
    CLASSES,
    CLASSES_END,
    EXEC,
    FOREIGN,
    FORK,
    NOTHING,
    SIGNAL,
    START,
    STATE_WORDS,
    THREAD,
    Machine,
    Transitions,
    Watch,
)
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.transitions import never_serving, transitions, watch
from scmm_oci.errors import BadInput
from scmm_oci.policy.machine import Machine as Machine_
from scmm_oci.policy.model import Action as PolicyAction
from scmm_oci.policy.model import Policy, Serving, Settings, SyscallRule, Transition, WatchAction
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

READS, WRITES = (CLASSES + STATE_WORDS.index(word) for word in ("openat:read", "openat:write"))


def of(*given, arch=Arch.X86_64, beside=(), serving=None, action=None):
    rules = tuple(SyscallRule(name, PolicyAction.ALLOW) for name in ("read", "write", "execve", "exit_group"))
    settings = Settings(arch=arch, architectures=(arch, *beside))
    return Policy(
        settings=settings, syscalls=rules, transitions=tuple(given) or None, serving=serving, watch=WatchAction(action)
        if action else None
    )  # fmt: skip


def test_classes_of_files_are_those_of_the_tables_in_their_order():
    assert tuple(word for call in states.REFINED for word in states.classes_of(call)) == STATE_WORDS
    assert CLASSES + len(STATE_WORDS) <= CLASSES_END
    assert tuple(WatchAction) == ACTIONS


@pytest.mark.parametrize("arch", Arch)
def test_every_word_of_an_abi_has_a_code_that_stands_for_it(arch):
    for word in states.called(arch):
        code = codes.called_code(word, arch)
        assert codes.is_called(code)
        assert codes.is_state(code)
        assert codes.word_of(code, arch) == word
        assert codes.words_of(code, arch) == (word,)
    for word in states.BEGINNINGS:
        code = codes.code_of(word, arch)
        assert not codes.is_called(code)
        assert codes.is_state(code)
        assert codes.words_of(code, arch) == (word,)
    for call in states.REFINED:
        there = call in syscalls.numbers(arch)
        assert (codes.called_code(call, arch) is not None) is there
        assert (codes.called_code(f"{call}:{states.REFINED[call][0][0]}", arch) is not None) is there
        if there:
            assert codes.words_of(codes.code_of(call, arch), arch) == states.classes_of(call)
    assert codes.words_of(START, arch) == states.STARTS


def test_numbers_that_are_no_states():
    for code in (-1, CLASSES + len(STATE_WORDS), CLASSES_END - 1, NOTHING, NOTHING + 1, FOREIGN - 1, START + 1):
        assert not codes.is_state(code)
        assert not codes.is_called(code)
    assert codes.word_of(999, Arch.X86_64) == "999"
    assert codes.code_of("signal", Arch.X86) == SIGNAL
    assert codes.called_code("signal", Arch.X86) == 48
    assert codes.called_code("signal", Arch.X86_64) is None


def test_classes_and_beginnings_in_transitions():
    made = transitions(
        of(
            Transition("start:exec", ("read",)),
            Transition("start:fork", ("openat",)),
            Transition("start:thread", ("openat:write",)),
            Transition("foreign", ("read",)),
            Transition("openat:read", ("openat", "openat:read")),
            Transition("openat", ("read",)),
        )
    )
    assert made == (
        Transitions(
            Arch.X86_64,
            ((257, 0), (READS, 257), (READS, READS), (FOREIGN, 0), (THREAD, WRITES), (FORK, 257), (EXEC, 0)),
        ),
    )
    assert polfile.read(polfile.write(policy_file(of(Transition("openat:write", ("read",))))[0])).transitions == (
        Transitions(Arch.X86_64, ((WRITES, 0),)),
    )


def test_a_policy_without_a_watch_has_no_section_for_it():
    """Such files are as they were before there were watches, byte by byte."""
    plain = policy_file(of(Transition("start", ("read",)), Transition("signal", ("write",))))[0]
    assert plain.watch is None
    assert 10 not in [kind for kind, _ in sections(polfile.write(plain))]
    watched = policy_file(of(Transition("start", ("read",)), action="kill"))[0]
    assert watched.watch == Watch("kill")
    assert 10 in [kind for kind, _ in sections(polfile.write(watched))]
    assert watch(of()) is None


def sections(data):
    count = int.from_bytes(data[12:16], "little")
    return [
        (int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little"))
        for at in range(64, 64 + 24 * count, 24)
    ]


def test_what_was_before():
    made = watch(
        of(
            Transition("read", ("write",)),
            Transition("sendto", ("recvfrom", "close"), before="connect"),
            Transition("read", ("write",), before="start"),
            Transition("read", ("close",), before="signal"),
            Transition("write", (), before="openat:write"),
        )
    )
    assert made == Watch(
        "alert",
        (
            Machine(
                Arch.X86_64,
                deep=((42, 44, 3), (42, 44, 45), (WRITES, 1, NOTHING), (SIGNAL, 0, 3), (START, 0, 1)),
            ),
        ),
    )
    only = of(Transition("read", ("write",), before="start"))
    assert transitions(only) == (Transitions(Arch.X86_64, ()),)
    assert polfile.read(polfile.write(policy_file(only)[0])).watch == watch(only)


def test_rows_for_the_same_history_are_one_and_what_is_not_there_leaves_nothing():
    """A pair of which no following call is there stays closed: the plain row does not hold for it."""
    made = watch(
        of(
            Transition("read", ("write",), before="@sync"),
            Transition("read", ("close",), before="fsync"),
            Transition("read", ("mmap2",), before="write"),
            Transition("read", ("mmap2", "close"), before="close"),
            Transition("mmap2", ("close",), before="close"),
        )
    ).machines[0]
    assert {triple for triple in made.deep if triple[0] == 74} == {(74, 0, 1), (74, 0, 3)}
    assert (1, 0, NOTHING) in made.deep
    assert [triple for triple in made.deep if triple[0] == 3] == [(3, 0, 3)]


def test_phases():
    serving = Serving(
        ("listen", "@sync"),
        (
            Transition("accept4", ("read",)),
            Transition("read", ("write",), before="accept4"),
            Transition("write", (), before="read"),
        ),
    )
    file, findings = policy_file(of(Transition("start", ("read",)), serving=serving, action="freeze"))
    (machine,) = file.watch.machines
    assert machine.serving_calls[0] == 26  # msync is the first of @sync
    assert 50 in machine.serving_calls
    assert machine.serving == ((288, 0),)
    assert machine.serving_deep == ((0, 1, NOTHING), (288, 0, 1))
    assert machine.deep == ()
    assert findings == policy_file(of(Transition("start", ("read",))))[1]
    assert polfile.read(polfile.write(file)) == polfile.canonical(file)
    # Start-up is not judged where only serving has transitions.
    alone, _ = policy_file(of(serving=serving))
    assert alone.transitions == ()
    assert alone.watch.machines == (machine,)
    assert polfile.read(polfile.write(alone)) == alone


def test_an_abi_without_the_call_that_leads_to_serving_is_told():
    policy = of(beside=(Arch.X86, Arch.X32), serving=Serving(("socketcall",), (Transition("read", ("write",)),)))
    told = [one.message.partition(":")[0] for one in never_serving(policy)]
    assert told == ["x86_64 has none of socketcall", "x32 has none of socketcall"]
    file, findings = policy_file(policy)
    assert set(never_serving(policy)) < set(findings)
    assert {one.arch: one.serving_calls for one in file.watch.machines} == {
        Arch.X86_64: (),
        Arch.X86: (102,),
        Arch.X32: (),
    }
    # Processes that were led over by another ABI's call have transitions there.
    assert all(one.serving for one in file.watch.machines)
    assert polfile.read(polfile.write(file)) == polfile.canonical(file)
    assert never_serving(of(serving=Serving(("listen",), ()))) == []
    # Another architecture lacks all of them.
    there, _ = retarget(of(serving=Serving(("arch_prctl",), ())), Arch.AARCH64)
    (told,) = never_serving(there)
    assert told.message.startswith("aarch64 has none of the calls that lead over: ")


def test_another_architecture_lacks_calls_and_classes():
    policy = of(
        Transition("open:write", ("read",)),
        Transition("openat:write", ("read", "open:read")),
        Transition("start:exec", ("openat:read",)),
        Transition("read", ("write",), before="open"),
        Transition("read", ("open",), before="foreign"),
        serving=Serving(("listen", "arch_prctl"), (Transition("read", ("open:read", "write"), before="start:fork"),)),
        action="alert",
    )
    there, findings = retarget(policy, Arch.AARCH64)
    assert there.transitions == (
        Transition("openat:write", ("read",)),
        Transition("start:exec", ("openat:read",)),
        Transition("read", (), before="foreign"),
    )
    assert there.serving == Serving(("listen",), (Transition("read", ("write",), before="start:fork"),))
    assert there.watch is WatchAction.ALERT
    (told,) = [one for one in findings if one.code == "transitions-left-out"]
    assert told.message.endswith("left out: arch_prctl, open, open:read, open:write")
    file, _ = policy_file(policy, arches=[Arch.AARCH64])
    assert file.transitions == (Transitions(Arch.AARCH64, ((WRITES, 63), (EXEC, READS))),)
    assert file.watch.machines[0].deep == ((FOREIGN, 63, NOTHING),)
    assert retarget(of(Transition("openat:write", ("read",))), Arch.AARCH64)[1] == []


def test_kernels_of_two_architectures_share_an_abi_or_are_told_apart(monkeypatch):
    deep = Transition("read", ("write",), before="start")
    policy = of(deep, beside=(Arch.X86,), serving=Serving(("listen",), (deep,)))
    both, _ = policy_file(policy, arches=[Arch.X86, Arch.X86_64, Arch.AARCH64])
    assert {one.arch for one in both.watch.machines} == {Arch.X86, Arch.ARM, Arch.AARCH64, Arch.X86_64}
    assert polfile.read(polfile.write(both)) == polfile.canonical(both)

    def others(there):
        return watch(there if there.settings.arch is Arch.X86 else of(deep, beside=(Arch.X86,)))

    monkeypatch.setattr("scmm_oci.compiled.policy_file.watch", others)
    with pytest.raises(BadInput, match="the transitions of x86 are others on kernels of x86_64"):
        policy_file(policy, arches=[Arch.X86, Arch.X86_64])


WORDS = st.sampled_from(
    [*states.BEGINNINGS, "start", "read", "write", "openat", "openat:read", "socket:inet", "listen"]
)
CALLED = st.sampled_from(["read", "write", "openat", "openat:write", "socket", "socket:unix", "@timer", "mmap2"])
ROWS = st.lists(
    st.builds(Transition, WORDS, st.lists(CALLED, max_size=3).map(tuple))
    | st.builds(Transition, CALLED, st.lists(CALLED, max_size=3).map(tuple), before=WORDS),
    min_size=1,
    max_size=6,
).map(tuple)


@given(ROWS, st.none() | st.builds(Serving, st.lists(CALLED, min_size=1).map(tuple), ROWS), st.sampled_from(Arch))
def test_any_transitions_are_written_as_they_are_and_in_any_order(rows, serving, arch):
    if serving is not None:
        serving = Serving(tuple(word.partition(":")[0] for word in serving.calls), serving.transitions)
    settings = Settings(arch=arch, architectures=(arch,))
    policy = Policy(settings=settings, transitions=rows, serving=serving)
    found = watch(policy)
    has_more = serving is not None or any(one.deep for one in (found.machines if found else ()))
    assert (found is not None) is has_more
    plain = polfile.model.PolicyFile(
        (), None, polfile.model.Identity(), transitions(policy), polfile.model.Metadata(), found
    )
    assert polfile.read(polfile.write(plain)) == polfile.canonical(plain)
    turned = Policy(settings=settings, transitions=rows[::-1], serving=serving)
    assert (transitions(turned), watch(turned)) == (transitions(policy), found)
    # No edge is there that a row does not say, and none of a row is left out that the ABI has.
    written = expanded(transitions(policy)[0].edges, arch)
    without_groups = [row for row in rows if not row.before and not any(word.startswith("@") for word in row.to)]
    said = expanded(
        {
            (codes.code_of(row.call, arch), codes.called_code(word, arch))
            for row in without_groups
            for word in row.to
            if codes.code_of(row.call, arch) is not None and codes.called_code(word, arch) is not None
        },
        arch,
    )
    assert said <= written
    if all(row.before or row in without_groups for row in rows):
        assert said == written


def expanded(edges, arch):
    """Pairs of codes as pairs of words that the kernel tells apart."""
    return {
        (before, after)
        for first, second in edges
        for before in codes.words_of(first, arch)
        for after in codes.words_of(second, arch)
    }


@given(ROWS, st.none() | st.builds(Serving, st.sampled_from([("listen",), ("read", "@timer")]), ROWS))
def test_the_way_back_gives_the_policys_machine(rows, serving):
    policy = Policy(settings=Settings(architectures=(Arch.X86_64, Arch.X86)), transitions=rows, serving=serving)
    file = polfile.model.PolicyFile(
        (), None, polfile.model.Identity(), transitions(policy), polfile.model.Metadata(), watch(policy)
    )
    read = polfile.read(polfile.write(file))
    found = {one.arch: one for one in machines(read.transitions, read.watch)}
    assert found == {arch: Machine_.of(policy, arch) for arch in (Arch.X86_64, Arch.X86)}


def test_calls_that_the_tables_lack_have_their_numbers():
    (found,) = machines((Transitions(Arch.X86_64, ((999, 0), (0, 999))),), None)
    assert found.starting.rows == {"999": {"read"}, "read": {"999"}}
    assert found.serving is None
    assert machines((), None) == ()
