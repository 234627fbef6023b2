"""Values of arguments → constraints: what they allow and what they do not."""

import pytest
from samples import app, argument, as_bytes, call

from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.decisions import ArgumentRules, Decisions, Unseen
from scmm_oci.policy.infer import infer
from scmm_oci.policy.model import Action
from scmm_oci.tables.arch import Arch

ALL = Decisions(arguments=ArgumentRules.ALL)
CLONE_NEWUSER = 0x1000_0000
THREAD = 0x3D0F00


def capture(*calls, arguments=(), **changes):
    return file.parse(as_bytes(app(*calls, arguments=list(arguments), **changes)))


def extract(*captures, decided=None):
    result = infer(list(captures), decided)
    assert document.parse(document.dump(result.policy)) == result.policy
    return result


def words(result, name):
    return [[(one.arg, one.type.value, one.allowed) for one in rule.constraints] for rule in of(result, name)]


def of(result, name):
    return [rule for rule in result.policy.syscalls if rule.name == name]


def passes(result, name, arch=Arch.X86_64, **values):
    """Whether a call passes; arguments as a0=…"""
    numbers = {int(key[1:]): value for key, value in values.items()}
    return Answers(result.policy, arch).of(name, numbers).action.passes


def codes(result):
    return [finding.code for finding in result.findings]


def test_enumeration_is_compared_as_a_whole():
    result = extract(capture(call("socket"), arguments=[argument("socket", 0, 1, 2)]))
    assert words(result, "socket") == [[(0, "integer", ("AF_UNIX", "AF_INET"))]]
    assert [family for family in range(40) if passes(result, "socket", a0=family)] == [1, 2]
    # Not as bits: AF_UNIX | AF_INET is 3, AF_AX25.
    assert not passes(result, "socket", a0=3)
    # Of an int the kernel takes the low half, so that is what is compared.
    assert passes(result, "socket", a0=1 << 32 | 2) and not passes(result, "socket", a0=1 << 32)


def test_flags_may_be_joined_anew_but_not_added_to():
    result = extract(capture(call("unshare"), arguments=[argument("unshare", 0, 0x200, 0x400)]))
    assert all(passes(result, "unshare", a0=value) for value in (0, 0x200, 0x400, 0x600))
    assert not passes(result, "unshare", a0=0x200 | CLONE_NEWUSER)
    assert not passes(extract(capture(call("clone"), arguments=[argument("clone", 0, THREAD)])), "clone", a0=1 << 40)


def test_number_among_flags_is_one_that_was_seen():
    read_only = extract(capture(call("openat"), arguments=[argument("openat", 2, 0, 0o2000000)]), decided=ALL)
    assert passes(read_only, "openat", a2=0) and passes(read_only, "openat", a2=0o2000000)
    assert not passes(read_only, "openat", a2=1) and not passes(read_only, "openat", a2=2)
    # Only O_RDONLY seen is a rule all the same, and no mask of nothing.
    alone = extract(capture(call("openat"), arguments=[argument("openat", 2, 0)]), decided=ALL)
    assert words(alone, "openat") == [[(2, "flags", ("O_RDONLY",))]]
    assert passes(alone, "openat", a2=0) and not passes(alone, "openat", a2=0o100)
    writing = extract(capture(call("openat"), arguments=[argument("openat", 2, 0o101)]), decided=ALL)
    assert passes(writing, "openat", a2=0o101) and not passes(writing, "openat", a2=0)


def test_signal_of_clone():
    result = extract(capture(call("clone"), arguments=[argument("clone", 0, 0x11, THREAD)]))
    assert passes(result, "clone", a0=0x11) and passes(result, "clone", a0=THREAD)
    assert not passes(result, "clone", a0=0x12) and not passes(result, "clone", a0=CLONE_NEWUSER | 0x11)
    signalled = extract(capture(call("clone"), arguments=[argument("clone", 0, 0x11)]))
    assert not passes(signalled, "clone", a0=0)


def test_pairs_belong_together():
    one = argument("setsockopt", [1, 2], 1 << 32 | 2, 1 << 32 | 9, 6 << 32 | 1)
    result = extract(capture(call("setsockopt"), arguments=[one]), decided=ALL)
    assert len(of(result, "setsockopt")) == 2
    assert passes(result, "setsockopt", a1=1, a2=9) and passes(result, "setsockopt", a1=6, a2=1)
    # SOL_SOCKET with TCP_NODELAY's number, and TCP with SO_REUSEADDR's, were not seen.
    assert not passes(result, "setsockopt", a1=1, a2=1) and not passes(result, "setsockopt", a1=6, a2=2)
    assert words(extract(capture(call("setsockopt"), arguments=[one])), "setsockopt") == [[]]


def test_more_values_than_were_kept_leave_the_argument_open():
    open_ended = argument("prctl", 0, 15, open_ended=True)
    result = extract(capture(call("prctl"), arguments=[open_ended]))
    assert words(result, "prctl") == [[]] and "open-ended" in codes(result)
    # Of one capture it is enough.
    both = extract(
        capture(call("prctl"), arguments=[argument("prctl", 0, 15)]),
        capture(call("prctl"), arguments=[open_ended], name="b"),
    )
    assert words(both, "prctl") == [[]]
    closed = extract(capture(call("prctl"), arguments=[argument("prctl", 0, 15)]))
    assert words(closed, "prctl") == [[(0, "integer", ("PR_SET_NAME",))]] and "open-ended" not in codes(closed)


def test_argument_that_a_capture_lacks_is_left_open():
    with_values = capture(call("socket"), arguments=[argument("socket", 0, 2), argument("socket", 1, 1)])
    for other in (
        capture(call("socket"), name="b"),
        capture(call("socket"), name="b", arguments=[argument("socket", 0)]),
    ):
        assert words(extract(with_values, other), "socket") == [[]]
    # One of the two arguments is there.
    half = capture(call("socket"), name="b", arguments=[argument("socket", 0, 10)])
    assert words(extract(with_values, half), "socket") == [[(0, "integer", ("AF_INET", "AF_INET6"))]]
    # A capture that did not make the call has no say.
    without = capture(call("read"), name="b")
    assert [arg for arg, *_ in words(extract(with_values, without), "socket")[0]] == [0, 1]


def test_lost_arguments_leave_all_open():
    loss = {"kind": "lost-arguments", "count": 1, "detail": "x"}
    found = capture(call("socket"), arguments=[argument("socket", 0, 2)], complete=False, losses=[loss])
    assert words(extract(found, decided=Decisions(accept_incomplete=True)), "socket") == [[]]
    files = {**loss, "kind": "lost-files"}
    found = capture(call("socket"), arguments=[argument("socket", 0, 2)], complete=False, losses=[files])
    assert words(extract(found, decided=Decisions(accept_incomplete=True)), "socket") != [[]]


def test_writing_and_executing_of_memory_stay_apart():
    apart = [argument("mmap", 2, 3, 5), argument("mprotect", 2, 1)]
    result = extract(capture(call("mmap"), call("mprotect"), arguments=apart))
    assert [passes(result, "mmap", a2=value) for value in (0, 1, 2, 3, 4, 5, 6, 7)] == [True] * 6 + [False] * 2
    assert len(of(result, "mmap")) == 2 and len(of(result, "mprotect")) == 1
    # Where a program has done both at once, it may.
    assert passes(extract(capture(call("mmap"), arguments=[argument("mmap", 2, 3, 7)])), "mmap", a2=7)


def test_which_arguments_get_rules():
    found = capture(
        call("socket"),
        call("fcntl"),
        arguments=[argument("socket", 0, 2), argument("fcntl", 1, 1), argument("socket", 1, 1)],
    )
    args = lambda decided: {  # noqa: E731
        name: [arg for arg, *_ in words(extract(found, decided=decided), name)[0]] for name in ("socket", "fcntl")
    }
    assert args(Decisions()) == {"socket": [0, 1], "fcntl": []}
    assert args(ALL) == {"socket": [0, 1], "fcntl": [1]}
    assert args(Decisions(arguments=ArgumentRules.NONE)) == {"socket": [], "fcntl": []}
    assert args(Decisions(arguments=ArgumentRules.NONE, check=frozenset({("fcntl", 1)}))) == {
        "socket": [],
        "fcntl": [1],
    }
    assert args(Decisions(leave_open=frozenset({("socket", 0)}))) == {"socket": [1], "fcntl": []}
    both = frozenset({("socket", 0)})
    assert args(Decisions(check=both, leave_open=both))["socket"] == [1]


@pytest.mark.parametrize(
    ("newer", "older", "arg", "value"), [("clone3", "clone", 0, THREAD), ("openat2", "openat", 2, 0)]
)
def test_calls_with_flags_in_memory(newer, older, arg, value):
    place = 0 if newer == "clone3" else 2
    found = capture(call(newer), call("read"), arguments=[argument(newer, place, value, field="flags")])
    allowed = extract(found)
    assert of(allowed, newer)[0].action is Action.ALLOW and "unseen-arguments" in codes(allowed)
    assert not of(allowed, older)
    decided = Decisions(arguments=ArgumentRules.ALL, unseen=Unseen.ENOSYS)
    answered = extract(found, decided=decided)
    assert [(rule.action, rule.errno) for rule in of(answered, newer)] == [(Action.DENY, "ENOSYS")]
    assert "unseen-arguments" not in codes(answered)
    # The older call has the flags that the newer one was seen with, and no others.
    assert passes(answered, older, **{f"a{arg}": value})
    assert not passes(answered, older, **{f"a{arg}": value | (CLONE_NEWUSER if newer == "clone3" else 1)})
    assert of(answered, older)[0].origin.reason == f"the programs take it when {newer} is answered ENOSYS"


def test_clone_for_clone3_has_the_signal_in_its_flags():
    decided = Decisions(unseen=Unseen.ENOSYS)
    fork = capture(call("clone3"), arguments=[argument("clone3", 0, 0x0, field="flags")])
    assert passes(extract(fork, decided=decided), "clone", a0=0x11)
    thread = capture(call("clone3"), arguments=[argument("clone3", 0, THREAD, field="flags")])
    result = extract(thread, decided=decided)
    assert passes(result, "clone", a0=THREAD) and not passes(result, "clone", a0=THREAD | 0x11)


def test_older_call_that_was_refused_stays_refused():
    found = capture(call("openat"), call("openat2"), call("read"))
    decided = Decisions(unseen=Unseen.ENOSYS, calls={"openat": Action.DENY})
    result = extract(found, decided=decided)
    assert not of(result, "openat") and "older-refused" in codes(result)
    engine = capture(call("openat", 0, denied=1, denied_errno="EPERM"), call("openat2"))
    result = extract(engine, decided=Decisions(unseen=Unseen.ENOSYS))
    assert not of(result, "openat") and "older-refused" in codes(result)
    allowed = extract(found, decided=Decisions(unseen=Unseen.ENOSYS))
    assert of(allowed, "openat") and "older-refused" not in codes(allowed)


def test_arguments_that_our_tables_do_not_have_make_no_rule():
    for strange in (argument("read", 0, 1), argument("setsockopt", [2, 1], 5), argument("setsockopt", 1, 5)):
        result = extract(capture(call(strange["name"]), arguments=[strange]), decided=ALL)
        assert words(result, strange["name"]) == [[]] and "strange-argument" in codes(result)
    assert words(extract(capture(call("socket"), arguments=[argument("socket", 0)])), "socket") == [[]]


def test_word_that_only_one_abi_knows_is_a_number():
    host = {"kernel": "6", "machine": "aarch64"}
    bti, arm = argument("mprotect", 2, 0x15, arch="aarch64"), argument("mprotect", 2, 1, arch="arm")
    alone = capture(call("mprotect", arch="aarch64"), host=host, arguments=[bti])
    assert "PROT_BTI" in words(extract(alone), "mprotect")[0][0][2]
    both = capture(call("mprotect", arch="aarch64"), call("mprotect", arch="arm"), host=host, arguments=[bti, arm])
    result = extract(both)
    assert words(result, "mprotect")[0][0][2] == ("PROT_READ", "PROT_EXEC", "0x10")
    assert passes(result, "mprotect", Arch.AARCH64, a2=0x10) and not passes(result, "mprotect", Arch.AARCH64, a2=0x20)


def test_values_of_one_abi_are_none_of_another():
    # On x86 mmap has its arguments in memory: what x86_64 was seen with says nothing of it.
    found = capture(call("mmap"), call("mmap", arch="x86"), arguments=[argument("mmap", 2, 1)])
    assert words(extract(found), "mmap") == [[]]
    alone = capture(call("mmap"), call("read", arch="x86"), arguments=[argument("mmap", 2, 1)])
    assert words(extract(alone), "mmap") == [[(2, "flags", ("PROT_READ",))]]


def test_number_that_one_abi_has_a_word_for_is_there_once():
    # PTRACE_ARCH_PRCTL is 30 on x86-64; on x86 that is nothing.
    seen = [argument("ptrace", 0, 30, arch=arch) for arch in ("x86_64", "x86")]
    result = extract(capture(call("ptrace"), call("ptrace", arch="x86"), arguments=seen))
    assert words(result, "ptrace") == [[(0, "integer", ("0x1e",))]]
    assert passes(result, "ptrace", Arch.X86, a0=30) and not passes(result, "ptrace", Arch.X86, a0=31)
