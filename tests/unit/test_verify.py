"""Policies against captures: beside each that allows all that was recorded, one that lacks a piece of it."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from samples import app, argument, as_bytes, call, file_use, of_one_machine, socket_use

from scmm_oci.capture import file
from scmm_oci.capture.model import Loss, LossKind
from scmm_oci.compiled import verify as module
from scmm_oci.compiled.beyond import Open, Wider
from scmm_oci.compiled.enforced import of_a_file, of_a_policy
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.verify import verify
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.tables.arch import Arch


def capture(*calls, **parts):
    value = app(*(calls or (call("read"),)), **parts)
    for use in (*value["files"], *value["sockets"]):
        use["programs"] = []
    return file.parse(as_bytes(value))


def policy(text):
    return document.parse(f"version: '1.0'\n{text}".encode())


def refused(report):
    return [(one.section, one.what, one.detail, one.count) for one in report.refused]


def both(text, *captures):
    """What is refused by a policy, which its compiled file has to refuse as well."""
    given = policy(text)
    found = verify(of_a_policy(given), captures)
    compiled = verify(of_a_file(policy_file(given)[0]), captures)
    assert refused(found) == refused(compiled)
    assert found.costs == compiled.costs and found.beyond == compiled.beyond
    return refused(found)


READ = "syscalls:\n- {name: read, action: allow}\n"
SOCKET = READ + (
    "- name: socket\n  action: allow\n"
    "  constraints: [{arg: '0', type: integer, allowed: [AF_INET]}, {arg: '1', type: flags, allowed: [SOCK_STREAM]}]\n"
)


def test_a_call_that_is_taken_out():
    two = capture(call("read", 5), call("getpid", 7))
    assert both(READ + "- {name: getpid, action: allow}\n", two) == []
    assert both(READ, two) == [("syscalls", "getpid", "", 7)]
    # Logged is allowed; whoever asks someone else is not.
    assert both(READ + "- {name: getpid, action: log}\n", two) == []
    assert both(READ + "- {name: getpid, action: trace}\n", two) == [("syscalls", "getpid", "", 7)]
    # Counts of several recordings are sums, and one that is given twice counts once.
    other = replace(capture(call("getpid", 3)), name="other")
    assert both(READ, two, other, two) == [("syscalls", "getpid", "", 10)]


def test_a_value_of_an_argument_that_is_taken_out():
    def made(*families):
        return capture(call("socket", 4), arguments=[argument("socket", 0, *families), argument("socket", 1, 1)])

    assert both(SOCKET, made(2)) == []
    assert both(SOCKET, made(2, 16)) == [("syscalls", "socket", "argument 0: AF_NETLINK", 4)]
    # Also where nothing that was recorded passes; and where no value alone is to blame, it is the call.
    assert both(SOCKET, made(16)) == [("syscalls", "socket", "argument 0: AF_NETLINK", 4)]
    either = SOCKET + (
        "- name: socket\n  action: allow\n"
        "  constraints: [{arg: '0', type: integer, allowed: [AF_NETLINK]}, {arg: '1', type: integer, allowed: ['3']}]\n"
    )
    assert both(either, made(16)) == [("syscalls", "socket", "", 4)]


def test_values_are_combined_with_those_of_other_arguments():
    rules = READ + (
        "- name: socket\n  action: allow\n  constraints:\n"
        "  - {arg: '0', type: integer, allowed: [AF_INET]}\n  - {arg: '1', type: integer, allowed: ['1']}\n"
        "- name: socket\n  action: allow\n  constraints:\n"
        "  - {arg: '0', type: integer, allowed: [AF_UNIX]}\n  - {arg: '1', type: integer, allowed: ['2']}\n"
    )

    def made(families, types, **changes):
        seen = [argument("socket", 0, *families), argument("socket", 1, *types, **changes)]
        return capture(call("socket"), arguments=seen)

    assert both(rules, made([1, 2], [1, 2])) == []
    # Each value alone could pass; AF_UNIX cannot with any type that was seen.
    assert verify(of_a_policy(policy(rules)), [made([1, 2], [1])]).refused == (
        module.Refused("syscalls", "socket", "argument 0: AF_UNIX", 1),
    )
    # With more types than were kept it may have been made with one that passes, and without types too.
    assert both(rules, made([1, 2], [1], open_ended=True)) == []
    assert both(rules, capture(call("socket"), arguments=[argument("socket", 0, 1, 2)])) == []
    many = made(range(1, 40), range(1, 40))
    assert {one[2] for one in both(rules, many)} >= {"argument 0: AF_NETLINK", "argument 1: SOCK_RAW"}


def test_pairs_and_what_an_int_does_not_say():
    rules = READ + (
        "- name: setsockopt\n  action: allow\n  constraints:\n"
        "  - {arg: '1', type: integer, allowed: [SOL_SOCKET]}\n  - {arg: '2', type: integer, allowed: [SO_REUSEADDR]}\n"
    )

    def seen(*pairs):
        values = [argument("setsockopt", [1, 2], *(level << 32 | option for level, option in pairs))]
        return capture(call("setsockopt"), arguments=values)

    assert both(rules, seen((1, 2))) == []
    (found,) = both(rules, seen((1, 2), (6, 2)))
    assert found[:2] == ("syscalls", "setsockopt") and found[2].startswith("argument 1/2: ")


def test_abis():
    mixed = capture(call("read"), call("read", 2, arch="x86"), call("read", 3, arch="x32"))
    every = "settings: {architectures: [x86_64, x86, x32]}\n" + READ
    assert both(every, mixed) == []
    some = "settings: {architectures: [x86_64, x86]}\n" + READ
    assert refused(verify(of_a_policy(policy(some)), [mixed])) == [("syscalls", "read", "a call of x32", 3)]
    nameless = capture({**call("read", nr=501), "name": None})
    assert both(READ, nameless) == [("syscalls", "501", "a call of x86_64 without a name", 1)]
    arm = app(call("read", arch="aarch64"), host={"kernel": "6", "machine": "aarch64"})
    with pytest.raises(BadInput, match="the captures are of aarch64, and there is no filter for that"):
        verify(of_a_policy(policy(READ)), [file.parse(as_bytes(arm))])
    file_for_both = policy_file(policy(READ), arches=[Arch.X86_64, Arch.AARCH64])[0]
    report = verify(of_a_file(file_for_both), [file.parse(as_bytes(arm)), capture()])
    assert report.refused == () and "openat" not in report.beyond.calls


def test_paths_and_ports_that_are_taken_out():
    recorded = capture(
        files=[file_use("/srv/a", access=["read_file"]), file_use("/srv/b", access=["read_file"])],
        sockets=[socket_use("bind", "0.0.0.0", 80), socket_use("connect", "10.0.0.1", 443)],
    )
    rules = "filesystem: {rules: [{path: /srv/a, access: [read_file]}, {path: /srv/b, access: [read_file]}]}\n"
    ports = "network: {inbound: [{protocol: tcp, ports: [80]}], outbound: [{protocol: tcp, ports: [443]}]}\n"
    assert both(READ + rules + ports, recorded) == []
    without = rules.replace(", {path: /srv/b, access: [read_file]}", "")
    assert both(READ + without + ports, recorded) == [("filesystem", "/srv/b", "read_file (open)", 1)]
    closed = ports.replace("443", "442")
    assert both(READ + rules + closed, recorded) == [("network", "outbound tcp 443", "10.0.0.1", 1)]
    # What is not spoken of is not refused.
    assert both(READ, recorded) == []


def test_what_a_ruleset_leaves_open_is_not_refused():
    recorded = capture(
        files=[file_use("/srv/a", access=["read_file"]), file_use("/dev/x", access=["ioctl_dev"])],
        sockets=[socket_use("connect", "10.0.0.1", 443), socket_use("bind", "0.0.0.0", 80)],
    )
    rules = "filesystem: {rules: [{path: /srv/a, access: [read_file]}, {path: /dev/x, access: [ioctl_dev]}]}\n"
    ports = "network: {outbound: [{protocol: tcp}], inbound: [{protocol: tcp, ports: [80]}]}\n"
    made, _ = policy_file(policy(READ + rules + ports))
    assert verify(of_a_file(made), [recorded]).refused == ()
    # A file whose ruleset does not handle a right does not refuse it.
    paths = made.ruleset.paths[:0]
    narrow = replace(made, ruleset=replace(made.ruleset, handled_fs=1 << 2, paths=paths))
    assert refused(verify(of_a_file(narrow), [recorded])) == [("filesystem", "/srv/a", "read_file (open)", 1)]
    assert verify(of_a_file(replace(made, ruleset=None)), [recorded]).refused == ()


def test_what_is_allowed_beyond_the_recording():
    recorded = capture(
        call("read"),
        call("socket"),
        call("fcntl"),
        arguments=[argument("socket", 0, 2), argument("socket", 1, 1), argument("fcntl", 1, 1, 3)],
        files=[file_use("/srv/a", access=["read_file"]), file_use("/srv/new", parent_access=["make_reg"])],
        sockets=[socket_use("bind", "0.0.0.0", 80)],
    )
    text = (
        SOCKET + "- {name: fcntl, action: allow}\n- {name: getpid, action: allow}\n"
        "filesystem: {rules: [{path: /srv/a, access: [read_file, write_file]}, {path: /srv, access: [make_reg]},"
        " {path: /var/**, access: [read_file]}, {path: /srv/new, access: [make_reg], on_missing: parentdir}]}\n"
        "network: {inbound: [{protocol: tcp, ports: [80, 90-99]}], outbound: [{protocol: udp}]}\n"
    )
    beyond = verify(of_a_policy(policy(text)), [recorded]).beyond
    assert beyond.calls == ("execve", "exit", "exit_group", "getpid", "restart_syscall", "rt_sigreturn")
    assert beyond.arguments == (Open("fcntl", "x86_64", (1,), 2),)
    assert beyond.files == (
        Wider("/srv/a", ("write_file",), unused=False),
        Wider("/var/**", ("read_file",), unused=True),
    )
    assert beyond.ports == ("inbound tcp 90-99", "outbound udp any port")


def test_costs():
    recorded = capture(call("read", 100), call("socket", 10), call("getpid", 2), arguments=[argument("socket", 0, 2)])
    costs = verify(of_a_policy(policy(SOCKET)), [recorded]).costs
    assert (costs.cached, costs.running) == (100, 12)
    assert [(one.name, one.count) for one in costs.calls] == [("socket", 10), ("getpid", 2)]
    socket, getpid = costs.calls
    assert socket.most >= socket.least > 2 and getpid.most == getpid.least > 2
    assert costs.worst == max(socket.most, getpid.most)
    assert costs.total == socket.mean * 10 + getpid.mean * 2 and costs.mean == costs.total / 12
    assert costs.worst == max(socket.most, getpid.most)
    # Nothing runs the filter: no cost, and no division by it.
    none = verify(of_a_policy(policy(READ)), [capture(call("read", 9))]).costs
    assert (none.total, none.mean, none.worst, none.cached) == (Fraction(0), Fraction(0), 0, 9)


def test_policies_that_no_program_could_run_under_are_refused():
    with pytest.raises(BadInput, match="execve"):
        of_a_policy(policy(READ + "- {name: execve, action: kill}\n"))
    unmade = of_a_file(replace(policy_file(policy(READ))[0], filters=()))
    assert verify(unmade, [capture(call("getpid"))]).refused == ()


def test_a_filter_that_refuses_what_the_policy_allows_is_found():
    made = of_a_policy(policy(READ + "- {name: getpid, action: allow}\n"))
    broken = replace(made, filters=of_a_policy(policy(READ)).filters)
    assert refused(verify(broken, [capture(call("read"), call("getpid", 2))])) == [("syscalls", "getpid", "", 2)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(of_one_machine())
def test_what_is_inferred_from_a_capture_allows_it(recorded):
    complete = replace(recorded, losses=(), files=(), sockets=())
    try:
        made = infer([complete], Decisions()).policy
        what = of_a_policy(made)
    except BadInput:
        return
    report = verify(what, [complete])
    assert [one for one in report.refused if one.detail != "a call of x86_64 without a name"] == []


def test_what_is_not_recorded_is_not_proven():
    """A value that was not kept may be refused: the policy allows one command of ioctl only."""
    one = "- {name: ioctl, action: allow, constraints: [{arg: '1', type: integer, allowed: [TCGETS]}]}\n"

    def codes(text, recorded):
        report = verify(of_a_policy(policy(text)), [recorded])
        assert refused(report) == []
        return [(finding.code, "ioctl:1" in finding.message) for finding in report.findings]

    whole = capture(call("ioctl", 7), arguments=[argument("ioctl", 1, 0x5401)])
    cut = capture(call("ioctl", 7), arguments=[argument("ioctl", 1, 0x5401, open_ended=True)])
    assert codes(READ + one, whole) == []
    assert codes(READ + one, cut) == [("values-unknown", True)]
    assert codes(READ + one, capture(call("ioctl", 7))) == [("values-unknown", True)]
    # What is logged for some values is allowed with all.
    assert codes(READ + "- {name: ioctl, action: allow}\n" + one.replace("allow,", "log,"), cut) == []
    loss = Loss(LossKind("lost-calls"), 3, "tables were full")
    assert codes(READ + one, replace(whole, losses=(loss,))) == [("incomplete", False)]
