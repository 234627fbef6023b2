"""A policy's files, ports and scopes as a Landlock ruleset: what each rule becomes, and that nothing is widened."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_samples import policies

from scmm_oci.compiled.landlock import MANY_PORTS, ruleset
from scmm_oci.compiled.polfile.model import Missing, PathKind, PortRule
from scmm_oci.compiled.polfile.paths import to_text
from scmm_oci.errors import BadInput
from scmm_oci.policy.model import (
    LandlockScope,
    Network,
    NetworkRule,
    OnMissing,
    PathRule,
    Policy,
    PortRange,
    Protocol,
)
from scmm_oci.policy.paths.exceptions import lowered
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables import landlock

TCP, UDP = Protocol.TCP, Protocol.UDP
BIND_TCP, CONNECT_TCP, BIND_UDP, SEND_UDP = (1 << bit for bit in range(4))


def files(*rules):
    return Policy(filesystem=tuple(rules))


def network(*, outbound=(), inbound=(), loopback=False):
    return Policy(network=Network(loopback, tuple(outbound), tuple(inbound)))


def ports(*ranges, protocol=TCP, addresses=("any",)):
    return NetworkRule(protocol, addresses, tuple(PortRange(*one) for one in ranges))


def codes(findings):
    return [finding.code for finding in findings]


def texts(made):
    return [(to_text(rule.components, rule.kind), rule.access, rule.on_missing) for rule in made.paths]


def test_a_policy_that_asks_nothing_has_no_ruleset():
    assert ruleset(Policy()) == (None, [])
    assert ruleset(Policy(scopes=())) == (None, [])


def test_an_empty_section_refuses_everything():
    made, findings = ruleset(Policy(filesystem=(), network=Network()))
    assert (made.handled_fs, made.handled_net, made.scoped) == (landlock.ALL_FS, landlock.ALL_NET, 0)
    assert (made.paths, made.ports, made.abi) == ((), (), 10)
    assert findings == []
    made, _ = ruleset(Policy(filesystem=()))
    assert (made.handled_fs, made.handled_net, made.abi) == (landlock.ALL_FS, 0, 9)


@pytest.mark.parametrize("root", ["/", "/**"])
def test_newer_rights_that_every_file_has_are_not_handled(root):
    """So that older kernels hold all of the policy. But for refer, which is refused where it is not handled."""
    newer = ("truncate", "ioctl_dev", "resolve_unix")
    made, findings = ruleset(files(PathRule("/srv", ("read_file", "ioctl_dev")), PathRule(root, (*newer, "refer"))))
    assert (findings, made.abi) == ([], 2)
    assert made.handled_fs == landlock.fs_of_abi(2)
    assert [(to_text(one.components, one.kind), one.access, one.abi) for one in made.paths] == [
        (root, 1 << 13, 2),
        ("/srv", 1 << 2, 1),
    ]
    made, _ = ruleset(files(PathRule(root, ("resolve_unix",))))
    assert (made.handled_fs, made.abi, made.paths) == (landlock.fs_of_abi(5), 5, ())
    # The controls: older rights, rules for less, and a rule with an exception.
    less = (
        PathRule(root, ("read_file",)),
        PathRule("/srv/**", newer),
        PathRule("/*", newer),
        PathRule("/**", newer, excluded=("/srv",)),
    )
    for rule in less:
        made, _ = ruleset(files(rule))
        assert (made.handled_fs, made.abi) == (landlock.ALL_FS, 9), rule


def test_rules_for_paths_are_raw_rights_with_their_abi():
    made, findings = ruleset(
        files(
            PathRule("/usr/bin/env", ("execute", "read_file")),
            PathRule("/srv/**", ("read_dir", "remove", "ioctl_dev"), OnMissing.PRECREATE),
            PathRule("/run/*.sock", ("resolve_unix",), OnMissing.PARENTDIR),
            PathRule("${HOME}/x", ("truncate",)),
        )
    )
    assert findings == []
    by_text = {to_text(rule.components, rule.kind): rule for rule in made.paths}
    assert {text: (rule.kind, rule.access, rule.on_missing, rule.abi) for text, rule in by_text.items()} == {
        "/usr/bin/env": (PathKind.EXACT, 0b101, Missing.SKIP, 1),
        "/srv/**": (PathKind.BENEATH, 1 << 3 | 1 << 4 | 1 << 5 | 1 << 15, Missing.PRECREATE, 5),
        "/run/*.sock": (PathKind.FILES, 1 << 16, Missing.PARENTDIR, 9),
        "${HOME}/x": (PathKind.EXACT, 1 << 14, Missing.SKIP, 3),
    }


def test_rules_for_one_path_are_joined_and_no_others():
    made, _ = ruleset(
        files(
            PathRule("/a/b", ("read_file",)),
            PathRule("/a/b", ("write_file",), OnMissing.PRECREATE),
            PathRule("/a/b", ("make_reg",), OnMissing.PARENTDIR),
            PathRule("/a/b/**", ("execute",)),
            PathRule("/a/[b]c", ("read_file",)),
            PathRule("/a/[bb]c", ("write_file",)),
            PathRule("/c", ("read_file",)),
            PathRule("/c", ("execute",)),
        )
    )
    assert texts(made) == [
        ("/a/[b]c", 0b110, Missing.SKIP),
        # What one rule makes, the other does not skip.
        ("/a/b", 0b110, Missing.PRECREATE),
        # The directory gets the rights of parentdir only.
        ("/a/b", 1 << 8, Missing.PARENTDIR),
        ("/a/b/**", 1, Missing.SKIP),
        ("/c", 0b101, Missing.SKIP),
    ]


def test_rights_of_directories_on_files_are_told_where_nothing_is_left():
    only, findings = ruleset(files(PathRule("/d/*", ("read_dir", "make_reg"))))
    assert only.paths == ()
    assert codes(findings) == ["no-right-on-files"]
    assert "/d/*" in findings[0].message and "read_dir, make_reg" in findings[0].message
    # Some is left, and so it stays raw; a directory may get them by parentdir; a plain path may be a directory.
    for rule in (
        PathRule("/d/*", ("read_dir", "read_file")),
        PathRule("/d/*", ("make_reg",), OnMissing.PARENTDIR),
        PathRule("/d", ("read_dir",)),
        PathRule("/d/*/**", ("read_dir",)),
    ):
        made, findings = ruleset(files(rule))
        assert [one.access for one in made.paths] == [landlock.fs_mask(rule.access)], rule
        assert findings == [], rule


def test_no_file_is_made_of_a_pattern():
    made, findings = ruleset(files(PathRule("/d/*.log", ("write_file",), OnMissing.PRECREATE)))
    assert [rule.on_missing for rule in made.paths] == [Missing.SKIP]
    assert codes(findings) == ["not-precreated"]
    made, findings = ruleset(files(PathRule("/d/*/log", ("write_file",), OnMissing.PRECREATE)))
    assert [rule.on_missing for rule in made.paths] == [Missing.PRECREATE]
    assert findings == []


def test_bad_paths_and_rights_are_all_told():
    long = "x" * 256
    with pytest.raises(BadInput) as caught:
        ruleset(
            files(
                PathRule("/a", ("read_fil",)),
                PathRule("b", ("read_file",)),
                PathRule("/c", ("read_file",)),
                PathRule(f"/{long}", ("read_file",)),
            )
        )
    places = [problem.place for problem in caught.value.problems]
    assert places[:2] == [".filesystem.rules[0].access", ".filesystem.rules[1].path"]
    assert places[2].startswith(".filesystem.rules[3].path")
    assert len(places) == 3


def test_rules_for_ports_by_direction_and_protocol():
    made, findings = ruleset(
        network(
            outbound=[ports((443, 443), (80, 80)), ports((53, 53), protocol=UDP)],
            inbound=[ports((0, 0), (8000, 8010)), ports((53, 53), protocol=UDP)],
        )
    )
    assert (made.handled_fs, made.handled_net, made.abi) == (0, landlock.ALL_NET, 10)
    assert made.ports == (
        PortRule(0, 0, BIND_TCP, 4),
        PortRule(53, 53, BIND_UDP | SEND_UDP, 10),
        PortRule(80, 80, CONNECT_TCP, 4),
        PortRule(443, 443, CONNECT_TCP, 4),
        PortRule(8000, 8010, BIND_TCP, 4),
    )
    assert codes(findings) == ["udp-needs-abi-10", "udp-needs-abi-10"]


def test_a_direction_that_is_open_is_not_handled_and_no_other():
    made, _ = ruleset(network(outbound=[ports(), ports((80, 80))], inbound=[ports((80, 80))]))
    assert made.handled_net == landlock.ALL_NET & ~CONNECT_TCP
    assert made.ports == (PortRule(80, 80, BIND_TCP, 4),)
    # In two halves it is open, too; a peer has no port 0, but the kernel may choose one.
    halves = [ports((1, 30000)), ports((30001, 65535))]
    assert ruleset(network(outbound=halves))[0].handled_net == landlock.ALL_NET & ~CONNECT_TCP
    made, findings = ruleset(network(inbound=halves))
    assert made.handled_net == landlock.ALL_NET
    assert made.ports == (PortRule(1, 65535, BIND_TCP, 4),)
    assert codes(findings) == ["many-ports"]
    every = [ports(protocol=protocol) for protocol in Protocol]
    assert ruleset(network(outbound=every, inbound=every))[0] is None
    assert ruleset(Policy(filesystem=(), network=Network(False, tuple(every), tuple(every))))[0].handled_net == 0


def test_what_landlock_cannot_hold_of_peers_is_told():
    peers = network(outbound=[ports((80, 80), addresses=("10.0.0.0/8",))], loopback=True)
    made, findings = ruleset(peers)
    assert made.ports == (PortRule(80, 80, CONNECT_TCP, 4),)
    assert codes(findings) == ["addresses-not-held", "loopback-not-held"]
    assert ruleset(network(outbound=[ports((80, 80)), ports((81, 81), addresses=())]))[1] == []
    at_most = (1, MANY_PORTS)
    assert ruleset(network(outbound=[ports(at_most)]))[1] == []
    assert codes(ruleset(network(outbound=[ports((1, MANY_PORTS + 1))]))[1]) == ["many-ports"]


def test_addresses_that_are_not_held_are_in_the_file():
    peer = NetworkRule(Protocol.TCP, addresses=("10.0.0.0/8",), ports=(PortRange(443, 443),))
    everywhere = replace(peer, addresses=("any",))
    for outbound, expected in (((peer,), True), ((everywhere,), False), ((everywhere, peer), True), ((), False)):
        made, _ = ruleset(Policy(network=Network(outbound=outbound)))
        assert made.has_addresses is expected
    # Every port of a peer is every port, so that nothing is handled.
    rules = tuple(NetworkRule(protocol, addresses=("10.0.0.0/8",)) for protocol in Protocol)
    made, _ = ruleset(Policy(network=Network(outbound=rules, inbound=rules)))
    assert (made.handled_net, made.abi, made.has_addresses) == (0, 0, True)


def test_what_is_not_refused_is_not_told():
    every = [ports(protocol=protocol) for protocol in Protocol]
    assert ruleset(network(outbound=every, inbound=every, loopback=True)) == (None, [])
    open_udp = network(outbound=[ports(protocol=UDP)], inbound=[ports((53, 53), protocol=UDP)], loopback=True)
    made, findings = ruleset(open_udp)
    assert made.handled_net == landlock.ALL_NET & ~SEND_UDP
    assert codes(findings) == ["udp-needs-abi-10", "loopback-not-held"]
    assert findings[0].message.startswith("inbound rules for UDP")


def test_scopes():
    made, findings = ruleset(Policy(scopes=(LandlockScope.SIGNAL, LandlockScope.ABSTRACT_UNIX_SOCKET)))
    assert (made.handled_fs, made.handled_net, made.scoped, made.abi) == (0, 0, 3, 6)
    assert codes(findings) == ["scopes-need-abi-6"]
    assert ruleset(Policy(scopes=(LandlockScope.SIGNAL,)))[0].scoped == 2


def _allowed(policy, direction, protocol):
    rules = getattr(policy.network, direction)
    found = set()
    for rule in rules:
        if rule.protocol is protocol:
            for one in rule.ports or (PortRange(0, 65535),):
                found.update(range(one.first, one.last + 1))
    return found


_RIGHTS = {
    ("outbound", TCP): CONNECT_TCP,
    ("inbound", TCP): BIND_TCP,
    ("outbound", UDP): SEND_UDP,
    ("inbound", UDP): BIND_UDP,
}
_ports = st.tuples(st.integers(0, 40) | st.integers(65500, 65535), st.integers(0, 65535)).map(
    lambda two: PortRange(min(two), max(two))
)
_peers = st.lists(
    st.builds(NetworkRule, st.sampled_from(Protocol), st.just(()), st.lists(_ports, max_size=3).map(tuple)), max_size=4
)


@given(_peers, _peers)
def test_every_port_has_the_rights_that_the_policy_gives_it(outbound, inbound):
    policy = network(outbound=outbound, inbound=inbound)
    made, _ = ruleset(policy)
    handled, rules = (made.handled_net, made.ports) if made is not None else (0, ())
    assert list(rules) == sorted(rules)
    assert all(one.last < other.first for one, other in itertools.pairwise(rules))
    # No two neighbours could be one.
    assert not any(
        one.last + 1 == other.first and one.access == other.access for one, other in itertools.pairwise(rules)
    )
    for (direction, protocol), right in _RIGHTS.items():
        granted = {port for one in rules if one.access & right for port in range(one.first, one.last + 1)}
        allowed = _allowed(policy, direction, protocol)
        if handled & right:
            assert granted == allowed
        else:
            assert not granted
            # To port 0 nobody connects: connect(2) takes it for no address.
            assert allowed >= set(range(0 if direction == "inbound" else 1, 65536))


@given(policies(), st.randoms(use_true_random=False))
def test_any_policy_has_a_ruleset_that_does_not_depend_on_the_order_of_its_rules(policy, chance: random.Random):
    made, _ = ruleset(policy)
    rules = list(policy.filesystem or ())
    chance.shuffle(rules)
    again = Policy(
        filesystem=tuple(rules) if policy.filesystem is not None else None,
        network=policy.network,
        scopes=policy.scopes,
    )
    assert ruleset(again)[0] == made
    if policy.filesystem is None:
        assert made is None or (made.handled_fs, made.paths) == (0, ())
        return
    assert made is not None and made.handled_fs == landlock.ALL_FS
    # Each rule's rights are those of the policy's rules for the same path, no more.
    given_rights = {}
    for rule in (one for whole in policy.filesystem for one in lowered(whole)):
        pattern = Pattern.parse(rule.path)
        key = (pattern.parts, pattern.kind.value)
        given_rights[key] = given_rights.get(key, 0) | landlock.fs_mask(rule.access)
    for one in made.paths:
        pattern = Pattern.parse(to_text(one.components, one.kind))
        matching = [
            mask
            for (parts, kind), mask in given_rights.items()
            if kind == pattern.kind.value
            and [p.name or p.tokens for p in parts] == [p.name or p.tokens for p in pattern.parts]
        ]
        assert matching and not one.access & ~sum({bit for mask in matching for bit in _bits(mask)})
        assert one.abi == landlock.abi_of_fs(one.access)


def _bits(mask):
    return [1 << bit for bit in range(64) if mask >> bit & 1]
