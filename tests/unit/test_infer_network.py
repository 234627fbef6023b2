"""Socket addresses → network rules and scopes."""

import pytest
from samples import app, as_bytes, call, program, session, socket_use

from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.decisions import Addresses, Decisions
from scmm_oci.policy.infer import infer


def capture(*sockets, name="a", **changes):
    programs = [program(0, "/bin/a", "a"), program(1, "/bin/b", "b")]
    return file.parse(as_bytes(app(call("read"), name=name, sockets=list(sockets), programs=programs, **changes)))


def extract(*captures, **decisions):
    result = infer(list(captures), Decisions(**decisions))
    assert document.parse(document.dump(result.policy)) == result.policy
    return result


def rules(result, direction):
    return [
        (rule.protocol.value, ",".join(map(str, rule.ports)), rule.addresses, rule.observed_addresses)
        for rule in getattr(result.policy.network, direction)
    ]


def codes(result):
    return [finding.code for finding in result.findings]


def test_direction_protocol_and_port():
    result = extract(
        capture(
            socket_use("bind", "0.0.0.0", 80),
            socket_use("listen", "0.0.0.0", 80),
            socket_use("connect", "10.0.0.1", 5432),
            socket_use("sendto", "::1", 53, family="inet6", type="dgram"),
            socket_use("connect", "10.0.0.1", 53, type="dgram", protocol=17),
            socket_use("connect", "10.0.0.9", 5432, protocol=6),
        )
    )
    assert rules(result, "inbound") == [("tcp", "80", ("any",), ("0.0.0.0",))]
    assert rules(result, "outbound") == [
        ("tcp", "5432", ("any",), ("10.0.0.1", "10.0.0.9")),
        ("udp", "53", ("any",), ("10.0.0.1", "::1")),
    ]
    assert result.policy.network.allow_loopback is False


def test_listen_alone_is_no_rule():
    assert rules(extract(capture(socket_use("listen", "0.0.0.0", 80))), "inbound") == []


@pytest.mark.parametrize(
    ("errnos", "kept"),
    [
        (["ECONNREFUSED"], True),
        (["EINPROGRESS"], True),
        (["EACCES"], False),
        (["EPERM"], False),
        (["EAFNOSUPPORT", "EINVAL"], False),
        (["EPERM", "ETIMEDOUT"], True),
    ],
)
def test_peer_that_only_refused_the_call_was_not_reached(errnos, kept):
    result = extract(capture(socket_use("connect", "10.0.0.1", 80, errnos=errnos)))
    assert bool(rules(result, "outbound")) is kept


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"protocol": 262}, "MPTCP"),
        ({"type": "raw", "protocol": 1}, "raw sockets of protocol 1"),
        ({"protocol": 132}, "stream sockets of protocol 132"),
        ({"type": "dgram", "protocol": 6}, "dgram sockets of protocol 6"),
    ],
)
def test_protocol_that_no_rule_holds_is_told(changes, what):
    result = extract(capture(socket_use("connect", "10.0.0.1", 80, **changes)))
    assert rules(result, "outbound") == []
    assert [one.message.partition(" were used")[0] for one in result.findings if one.code == "unheld-protocol"] == [
        what
    ]
    assert "unheld-protocol" not in codes(extract(capture(socket_use("connect", "10.0.0.1", 80))))


def test_ephemeral_ports_that_differ_are_a_range():
    one = capture(socket_use("connect", "10.0.0.1", 40001), socket_use("connect", "10.0.0.1", 80))
    other = capture(socket_use("connect", "10.0.0.1", 50002), socket_use("connect", "10.0.0.1", 80), name="b")
    ports = [ports for _, ports, *_ in rules(extract(one, other), "outbound")]
    assert ports == ["80", "32768-60999"]
    # The same in both is one that somebody configured; and below the range nothing varies.
    again = capture(socket_use("connect", "10.0.0.1", 40001), name="b")
    assert [ports for _, ports, *_ in rules(extract(one, again), "outbound")] == ["80", "40001"]
    low = [capture(socket_use("connect", "10.0.0.1", port), name=str(port)) for port in (8001, 8002)]
    assert [ports for _, ports, *_ in rules(extract(*low), "outbound")] == ["8001", "8002"]
    # In one recording only many make it likely.
    many = [socket_use("connect", "10.0.0.1", 40000 + number) for number in range(8)]
    assert [ports for _, ports, *_ in rules(extract(capture(*many)), "outbound")] == ["32768-60999"]
    assert len(rules(extract(capture(*many[:7])), "outbound")) == 7


def test_addresses_are_observed_only_where_that_is_decided():
    found = capture(socket_use("connect", "10.0.0.1", 80), socket_use("bind", "10.9.9.9", 80))
    result = extract(found, addresses=Addresses.OBSERVED)
    assert rules(result, "outbound") == [("tcp", "80", ("10.0.0.1",), ())]
    assert rules(result, "inbound")[0][2] == ("any",)
    assert "addresses-not-held" in codes(result) and "addresses-not-held" not in codes(extract(found))


def test_long_lists_of_addresses_are_counted():
    many = [socket_use("connect", f"10.0.0.{number}", 80) for number in range(20)]
    (rule,) = extract(capture(*many)).policy.network.outbound
    assert (len(rule.observed_addresses), rule.origin.observed) == (16, 20)
    (rule,) = extract(capture(*many[:16])).policy.network.outbound
    assert (len(rule.observed_addresses), rule.origin.observed) == (16, 0)


def test_strange_address_is_no_word_of_the_policy():
    strange = extract(capture(socket_use("connect", "a b", 80)), addresses=Addresses.OBSERVED)
    assert rules(strange, "outbound") == [("tcp", "80", ("any",), ())] and "strange-address" in codes(strange)
    scoped = extract(capture(socket_use("connect", "fe80::1%eth0", 80, family="inet6")))
    assert rules(scoped, "outbound")[0][3] == ("fe80::1%eth0",) and "strange-address" not in codes(scoped)


def test_ports_that_are_left_out_and_no_network_at_all():
    found = capture(socket_use("connect", "10.0.0.1", 80), socket_use("bind", "10.0.0.1", 80))
    result = extract(found, ports=frozenset({("outbound", "tcp", 80)}))
    assert rules(result, "outbound") == [] and len(rules(result, "inbound")) == 1
    nothing = extract(found, network=False).policy
    assert (nothing.network, nothing.scopes) == (None, None)


def test_programs_and_recordings_are_named_where_not_all():
    first = capture(socket_use("connect", "10.0.0.1", 80), socket_use("bind", "10.0.0.1", 80, programs=[0, 1]))
    second = capture(socket_use("bind", "10.0.0.1", 80, programs=[0, 1]), name="b")
    policy = extract(first, second).policy
    assert (policy.network.outbound[0].origin.programs, policy.network.outbound[0].origin.recordings) == (
        ("/bin/a",),
        1,
    )
    assert (policy.network.inbound[0].origin.programs, policy.network.inbound[0].origin.recordings) == ((), 0)


def test_scopes():
    scopes = lambda *sockets, **changes: extract(capture(*sockets, **changes)).policy.scopes  # noqa: E731
    assert scopes() == ("abstract_unix_socket", "signal")
    assert scopes(socket_use("connect", "@bus", family="unix")) == ("signal",)
    assert scopes(socket_use("sendto", "@bus", family="unix", type="dgram")) == ("signal",)
    assert scopes(socket_use("bind", "@own", family="unix")) == ("abstract_unix_socket", "signal")
    assert scopes(socket_use("connect", "/run/bus", family="unix")) == ("abstract_unix_socket", "signal")
    two = [session([call("read")]), session([call("read")], kind="exec", number=1)]
    assert scopes(sessions=two) == ("abstract_unix_socket",)
