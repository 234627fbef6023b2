"""Policies with transitions against captures: what was recorded is allowed; beside each, one that lacks a piece."""

import pytest
from click.testing import CliRunner
from samples import app, as_bytes, call

from scmm_oci.capture import file
from scmm_oci.cli.verify import verify as command
from scmm_oci.compiled.enforced import of_a_file, of_a_policy
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.verify import verify
from scmm_oci.policy import document
from scmm_oci.tables import syscalls

NR = syscalls.numbers("x86_64")
CALLS = ("read", "openat", "close", "listen", "accept4", "sendto", "connect", "write")
RULES = (
    "settings: {architectures: [x86_64, x86]}\nsyscalls: ["
    + ", ".join(f"{{name: {name}, action: allow}}" for name in CALLS)
    + "]\n"
)


def capture(*order, calls=CALLS, name="one"):
    value = app(*(call(one) for one in calls), name=name)
    value["order"] = [{"arch": "x86_64", **one} for one in order]
    return file.parse(as_bytes(value))


def edges(*pairs, triples=None, **rest):
    """An object of order; calls are numbers there, also those that have classes where these are not known."""
    found = {"edges": [[NR.get(word, word) for word in pair] for pair in pairs], **rest}
    if triples is not None:
        found["triples"] = [[NR.get(word, word) for word in triple] for triple in triples]
    return found


def report(text, *captures):
    """What is said of a policy, which is said of its compiled file as well."""
    given = document.parse(f"version: '1.0'\n{RULES}{text}".encode())
    found = verify(of_a_policy(given), captures)
    compiled = verify(of_a_file(policy_file(given)[0]), captures)
    assert (found.refused, found.steps, found.findings) == (compiled.refused, compiled.steps, compiled.findings)
    return found


def refused(text, *captures):
    found = report(text, *captures)
    assert not [one for one in found.findings if one.code.startswith("order")], found.findings
    return [(one.section, one.what, one.detail, one.count) for one in found.refused]


def unclear(text, *captures):
    found = report(text, *captures)
    assert not found.refused
    return [one.message.partition(": ")[2] for one in found.findings if one.code.startswith("order")]


def test_every_step_is_asked_for():
    made = capture(edges(("start:exec", "read"), ("read", "close")))
    assert refused("transitions: {start: [read], read: [close]}", made) == []
    assert refused("transitions: {start: [read], read: [read]}", made) == [("transitions", "read", "close", 1)]
    assert refused("transitions: {start:fork: [read], read: [close]}", made) == [
        ("transitions", "start:exec", "read", 1)
    ]
    assert refused("", made) == []
    assert [one[1:3] for one in refused("transitions: {}", made)] == [("read", "close"), ("start:exec", "read")]


def test_steps_of_several_captures_are_counted_in_them():
    one = capture(edges(("start:exec", "read")))
    other = capture(edges(("start:exec", "read"), ("read", "read")), name="other")
    assert refused("transitions: {read: [read]}", one, other) == [("transitions", "start:exec", "read", 2)]


def test_classes_are_asked_for_where_they_are_known():
    made = capture(edges(("start:exec", "openat:read"), ("openat:read", "read")))
    assert refused("transitions: {start: [openat:read], openat:read: [read]}", made) == []
    assert refused("transitions: {start: [openat], openat: [read]}", made) == []
    assert refused("transitions: {start: [openat:write], openat: [read]}", made) == [
        ("transitions", "start:exec", "openat:read", 1)
    ]
    older = capture(edges(("start", "openat"), ("openat", "read")))
    assert refused("transitions: {start: [openat], openat: [read]}", older) == []
    assert refused("transitions: {start: [close], openat: [read]}", older) == [("transitions", "start", "openat", 1)]
    assert unclear("transitions: {start: [openat:read], openat: [read]}", older) == ["start → openat"]
    assert unclear("transitions: {start:exec: [openat], openat: [read]}", older) == ["start → openat"]


SERVING = "transitions: {start: [listen], listen: [close]}\n"
SERVING += "serving: {from: [%s], transitions: {listen: [accept4], accept4: [read]}}"


def test_stages_are_asked_for_in_their_phase():
    early = edges(("start:exec", "listen"), stage="starting")
    late = edges(("listen", "accept4"), stage="listening")
    last = edges(("accept4", "read"), stage="accepting")
    made = capture(early, late, last)
    assert refused(SERVING % "listen", made) == []
    # Twins: the same step in the other phase.
    assert refused(SERVING % "listen", capture(edges(("listen", "accept4"), stage="starting"))) == [
        ("transitions", "listen", "accept4", 1)
    ]
    assert refused(SERVING % "listen", capture(edges(("listen", "close"), stage="listening"))) == [
        ("serving", "listen", "close", 1)
    ]
    assert refused(SERVING % "accept4", made) == [("transitions", "listen", "accept4", 1)]
    assert refused(SERVING % "connect", capture(early, calls=("listen",))) == []


def test_what_stages_do_not_tell():
    unknown = capture(edges(("listen", "accept4")))
    assert unclear(SERVING % "listen", unknown) == ["listen → accept4"]
    assert refused(SERVING % "listen", capture(edges(("listen", "write")))) == [("transitions", "listen", "write", 1)]
    # It does not say who had connected; only what is in neither phase is refused.
    staged = capture(edges(("listen", "accept4"), stage="starting"))
    assert unclear(SERVING % "connect", staged) == ["listen → accept4"]
    # One that accepts and never listened was given its socket.
    given = capture(edges(("accept4", "read"), stage="accepting"), calls=("accept4", "read"))
    assert refused(SERVING % "listen", given) == [("transitions", "accept4", "read", 1)]
    only = "serving: {from: [listen], transitions: {listen: [accept4]}}"
    assert refused(only, capture(edges(("start:exec", "close"), stage="starting"))) == []
    assert refused(only, capture(edges(("listen", "close"), stage="listening"))) == [("serving", "listen", "close", 1)]
    assert unclear(only, capture(edges(("listen", "close")))) == ["listen → close"]


DEEP = "transitions: {start: [connect, read], connect: [sendto], read: [sendto], "
DEEP += "sendto: [sendto, close], connect > sendto: [read]}"


def test_histories_are_asked_for_where_they_were_recorded():
    pairs = (("start:exec", "connect"), ("connect", "sendto"), ("sendto", "sendto"), ("sendto", "read"))
    made = capture(edges(*pairs, triples=[["start:exec", "connect", "sendto"], ["connect", "sendto", "read"]]))
    assert refused(DEEP, made) == []
    assert refused(DEEP.replace("connect > sendto: [read]", "sendto > read: []"), made) == [
        ("transitions", "sendto", "read", 1)
    ]
    wrong = capture(edges(("sendto", "close"), triples=[["connect", "sendto", "close"]]))
    assert refused(DEEP, wrong) == [("transitions", "connect > sendto", "close", 1)]
    assert refused(DEEP, capture(edges(("sendto", "close"), triples=[["read", "sendto", "close"]]))) == []
    # Without them nothing is proven of what a history decides.
    assert unclear(DEEP, capture(edges(("sendto", "close")))) == ["sendto → close"]
    assert refused(DEEP, capture(edges(("sendto", "write")))) == [("transitions", "sendto", "write", 1)]
    assert refused(DEEP, capture(edges(("read", "sendto"), ("sendto", "sendto")))) == []


def test_captures_without_order_prove_nothing():
    assert unclear("transitions: {start: [read]}", capture(calls=("read",))) == ["one"]
    assert unclear("", capture(calls=("read",))) == []


def test_abis_without_a_machine():
    value = app(call("read"))
    value["order"] = [{"arch": "x32", "edges": [["start", 0]]}]
    made = file.parse(as_bytes(value))
    assert refused("transitions: {start: [read]}", made) == [("transitions", "a call of x32", "", 1)]


def test_steps_that_no_capture_has():
    made = capture(edges(("start:exec", "read"), ("read", "openat:read")))
    found = report("transitions: {start:exec: [read], read: [openat, close]}", made)
    assert found.steps == ("read → close", "read → openat:write")


@pytest.mark.parametrize("step", [["read", "close"], ["read", "write"]])
def test_the_command_fails_by_a_step(tmp_path, step):
    policy, recorded = tmp_path / "p.scmm.yaml", tmp_path / "c.scmm-cap"
    policy.write_text(f"version: '1.0'\n{RULES}transitions: {{start: [read], read: [close, read]}}\n")
    value = app(*(call(one) for one in CALLS))
    value["order"] = [{"arch": "x86_64", **edges(("start", "read"), step)}]
    recorded.write_bytes(as_bytes(value))
    result = CliRunner().invoke(command, [str(policy), "--against", str(recorded)])
    lines = [line.split() for line in result.stdout.splitlines()]
    refuses = step[1] == "write"
    assert result.exit_code == refuses, result.output
    assert (["transitions", "read", "write", "1"] in lines) is refuses
    assert "steps from one call to the next allowed, and never recorded" in result.stdout


def test_nothing_follows_the_call_of_the_name_signal():
    """A key `signal` is the handler; the watch knows no more of the call of x86 (docs/formats.md)."""
    value = app(call("read"), name="one")
    number = syscalls.numbers("x86")["signal"]
    read = syscalls.numbers("x86")["read"]
    value["order"] = [{"arch": "x86", "edges": [["start:exec", number], [number, read], ["signal", read]]}]
    text = "transitions: {start: [signal], signal: [read]}\n"
    assert refused(text, file.parse(as_bytes(value))) == [("transitions", "signal()", "read", 1)]
