"""Transitions, serving and watch in a policy's text: what is read and written, and all that is wrong with one told."""

import time

import pytest

from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.explain import comments
from scmm_oci.policy.model import Serving, Transition, WatchAction
from scmm_oci.policy.render import to_document
from scmm_oci.policy.yaml.edit import update

TEXT = """\
version: "1.0"
settings:
  default_action: deny
  default_errno: EPERM
  log_denials: false
  arch: x86_64
  architectures: [x86_64]
syscalls: []
transitions:
  start:exec: [brk]
  openat:write: [write, fstat, "@timer"]
  connect > sendto: [recvfrom]
  start > socket:inet: []
serving:
  from: [listen, "@network-io"]
  transitions:
    "@basic-io": [openat]
watch: alert
"""


def problems(text, *, settings=""):
    with pytest.raises(BadInput) as caught:
        document.parse(f'version: "1.0"\n{settings}{text}'.encode())
    return [str(problem).partition(", .")[2] for problem in caught.value.problems]


def test_words_and_histories_are_read_and_written_in_one_form():
    policy = document.parse(TEXT.encode())
    assert policy.transitions == (
        Transition("start:exec", ("brk",)),
        Transition("openat:write", ("write", "fstat", "@timer")),
        Transition("sendto", ("recvfrom",), "connect"),
        Transition("socket:inet", (), "start"),
    )
    assert policy.serving == Serving(("listen", "@network-io"), (Transition("@basic-io", ("openat",)),))
    assert policy.watch is WatchAction.ALERT
    assert document.dump(policy).decode().partition("version")[2] == TEXT.partition("version")[2]


def test_serving_may_stand_without_transitions():
    text = 'version: "1.0"\nserving: {from: [listen], transitions: {}}\nwatch: kill\n'
    policy = document.parse(text.encode())
    assert (policy.transitions, policy.serving, policy.watch) == (None, Serving(("listen",), ()), WatchAction.KILL)
    assert document.parse(document.dump(policy)) == policy


def test_all_that_is_wrong_is_told_at_once_with_its_place():
    text = """\
transitions:
  raed: [read]
  read:write: [read]
  openat:exec: [read]
  start:exce: [read]
  staart: [read]
  "@basic-oi": [read]
  foreign: [start, start:exec, foreign, signal, raed, openat:exec, getpid:x, "@nothing", set_tls]
serving:
  from: [lissen, start, signal, socket:inet, "@no-such"]
  transitions:
    read: [wirte]
watch: kill
"""
    assert problems(text) == [
        "transitions.raed: 'raed' is not a system call of x86_64 (did you mean 'read'?)",
        "transitions.read:write: 'read:write' is no state, as read has no classes (write read; calls that have "
        "classes: mmap, mprotect, open, openat, pkey_mprotect, socket, socketpair)",
        "transitions.openat:exec: 'openat:exec' is not a class of openat "
        "(did you mean 'openat:read'?; known: openat:read, openat:write)",
        "transitions.start:exce: 'start:exce' is not where a thread begins "
        "(did you mean 'start:exec'?; known: start, start:exec, start:fork, start:thread, signal, foreign)",
        "transitions.staart: 'staart' is not a system call of x86_64 (did you mean 'start'?)",
        "transitions.@basic-oi: '@basic-oi' is not a group (did you mean '@basic-io'?)",
        "transitions.foreign[0]: start is a beginning, and no call (it can only be what calls follow)",
        "transitions.foreign[1]: start:exec is a beginning, and no call (it can only be what calls follow)",
        "transitions.foreign[2]: foreign is a beginning, and no call (it can only be what calls follow)",
        "transitions.foreign[3]: signal is a beginning, and no call (it can only be what calls follow)",
        "transitions.foreign[4]: 'raed' is not a system call of x86_64 (did you mean 'read'?)",
        "transitions.foreign[5]: 'openat:exec' is not a class of openat "
        "(did you mean 'openat:read'?; known: openat:read, openat:write)",
        "transitions.foreign[6]: 'getpid:x' is no state, as getpid has no classes (write getpid; calls that have "
        "classes: mmap, mprotect, open, openat, pkey_mprotect, socket, socketpair)",
        "transitions.foreign[7]: '@nothing' is not a group (`scmm groups` lists them)",
        "transitions.foreign[8]: 'set_tls' is not a system call of x86_64 (it is one of arm)",
        "serving.from[0]: 'lissen' is not a system call of x86_64 (did you mean 'listen'?)",
        "serving.from[1]: start is a beginning, and no call (it can only be what calls follow)",
        "serving.from[2]: signal is a beginning, and no call (it can only be what calls follow)",
        "serving.from[3]: serving begins with a call, not with 'socket:inet' alone (write socket)",
        "serving.from[4]: '@no-such' is not a group (`scmm groups` lists them)",
        "serving.transitions.read[0]: 'wirte' is not a system call of x86_64 (did you mean 'write'?)",
    ]


NOT_TWO = (
    "is not two states with > between them (write 'connect > sendto': what was before, and the call that these follow)"
)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            "read > ",
            NOT_TWO,
        ),
        (
            "> read",
            NOT_TWO,
        ),
        (
            ">",
            NOT_TWO,
        ),
        (
            "open > read > close",
            NOT_TWO,
        ),
        ("open>read", "has not just one space on each side of > (write 'open > read')"),
        ("open  > read", "has not just one space on each side of > (write 'open > read')"),
        (" open > read", "has not just one space on each side of > (write 'open > read')"),
        ("raed > read", "'raed' is not a system call of x86_64 (did you mean 'read'?)"),
        ("read > raed", "'raed' is not a system call of x86_64 (did you mean 'read'?)"),
        ("@basic-io > read", "a group cannot stand in '@basic-io > read' (name a call)"),
        ("read > @basic-io", "a group cannot stand in 'read > @basic-io' (name a call)"),
        ("read > start:exec", "start:exec is a beginning, and no call (it can only be what calls follow)"),
        (
            "read > signal",
            "nothing is before a signal handler, and so none can stand in 'read > signal' (write signal)",
        ),
        ("read > read", "'read > read' never holds, as a call that is repeated counts once"),
    ],
)
def test_histories_that_are_none(key, told):
    found = problems(f'transitions: {{"{key}": [close]}}\n')
    assert len(found) == 1 and found[0].endswith(told), found


def test_a_history_is_never_there_twice():
    # Other spellings are refused, so that the two cannot stand beside each other; the same twice is no YAML of ours.
    found = problems('transitions:\n  "open>read": [close]\n  open > read: [write]\n')
    assert len(found) == 1 and "open>read" in found[0]
    with pytest.raises(BadInput, match="twice"):
        document.parse(b'version: "1.0"\ntransitions:\n  open > read: [close]\n  "open > read": [write]\n')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("serving: {transitions: {}}", ["serving: the key 'from' is missing"]),
        ("serving: {from: [listen]}", ["serving: the key 'transitions' is missing"]),
        ("serving: {from: [], transitions: {}}", ["serving.from: is empty"]),
        ("serving: {from: [listen, listen], transitions: {}}", ["serving.from: has a value twice: 'listen'"]),
        (
            "watch: kill",
            ["watch: there is nothing to watch without transitions (learn them: scmm extract --transitions)"],
        ),
        (
            "transitions: {}\nwatch: log",
            ["watch: 'log' is not a known value (did you mean 'alert'?; known: count, alert, freeze, kill)"],
        ),
        (
            "transitions: {}\nwatch: stop",
            ["watch: 'stop' is not a known value (did you mean 'freeze'?; known: count, alert, freeze, kill)"],
        ),
        # What is bad is there all the same.
        ("transitions: [read]\nwatch: kill", ["transitions: ['read'] is not a mapping"]),
        ("transitions: {read: [read, read]}", ["transitions.read: has a value twice: 'read'"]),
        ("transitions: {read: read}", ["transitions.read: 'read' is not a list (a list of one is [read])"]),
    ],
)
def test_what_lacks_and_what_is_too_much(text, told):
    assert problems(f"{text}\n") == told


def test_words_of_the_abis_that_the_policy_is_for():
    beside = "settings: {architectures: [x86_64, x86]}\n"
    text = "transitions: {mmap2:exec: [signal, mmap2], start: [socketcall]}\n"
    assert len(problems(text)) == 4
    policy = document.parse(f'version: "1.0"\n{beside}{text}'.encode())
    assert policy.transitions[0] == Transition("mmap2:exec", ("signal", "mmap2"))
    # A key `signal` is the handler there, too, and so `A > signal` is neither the handler nor the call.
    with pytest.raises(BadInput, match="nothing is before a signal handler"):
        document.parse(f'version: "1.0"\n{beside}transitions: {{read > signal: [read]}}'.encode())


def test_hundreds_of_states_are_read_in_seconds():
    from scmm_oci.tables import syscalls

    names = sorted(syscalls.numbers("x86_64"))
    assert len(names) > 350
    following = ", ".join(names)
    text = 'version: "1.0"\ntransitions:\n' + "".join(f"  {name}: [{following}]\n" for name in names)
    start = time.monotonic()
    policy = document.parse(text.encode())
    assert len(policy.transitions) == len(names)
    with pytest.raises(BadInput) as caught:
        document.parse(text.replace(" close,", " clsoe,").encode())
    assert len(caught.value.problems) == len(names)
    assert time.monotonic() - start < 30


def test_an_edit_keeps_comments():
    text = TEXT.replace("  connect > sendto:", "  # of the resolver\n  connect > sendto:").replace(
        '    "@basic-io"', '    # all of it\n    "@basic-io"'
    )
    policy = document.parse(text.encode())
    wanted = to_document(policy)
    wanted["transitions"]["connect > sendto"].append("close")
    wanted["transitions"] = {"start:exec": wanted["transitions"].pop("start:exec"), **wanted["transitions"], "read": []}
    wanted["serving"]["transitions"]["@basic-io"].append("socket:inet")
    wanted["serving"]["from"] = ["accept"]
    wanted["watch"] = "kill"
    changed = update(text.encode(), wanted).decode()
    assert changed == text.replace("[recvfrom]", "[recvfrom, close]").replace(
        "  start > socket:inet: []\n", "  start > socket:inet: []\n  read: []\n"
    ).replace("[openat]", "[openat, socket:inet]").replace('[listen, "@network-io"]', "[accept]").replace(
        "watch: alert", "watch: kill"
    )
    assert document.parse(changed.encode()).watch is WatchAction.KILL


def test_sections_have_a_comment():
    policy = document.parse(TEXT.encode())
    found = comments(policy)
    assert set(found) == {("transitions",), ("serving",), ("watch",)}
    assert "a > b" in found["transitions",] and "a > b" not in found["serving",]
    assert document.parse(document.dump(policy, comments=found)) == policy
