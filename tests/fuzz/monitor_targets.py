"""What the monitor reads, fuzzed: its rules, what peers and programs that decide say, memory of the programs it decides
about. As in fuzz_targets, bytes go in; what readers raise says what is wrong, and what they take has to be right.
"""

import ipaddress
import json
import struct

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.addresses import address_of, unix_path
from scmm_oci.enforcer.monitor.behalf import table
from scmm_oci.enforcer.monitor.model import Address, Memory, Process, Subject, Target, Verdict
from scmm_oci.enforcer.monitor.program_answers import BadAnswer, decision_of, parse
from scmm_oci.enforcer.monitor.protocol import BadPeer, Document
from scmm_oci.enforcer.monitor.protocol import parse as parse_peer
from scmm_oci.enforcer.monitor.rules import load
from scmm_oci.enforcer.monitor.rules.decide import Rules, Spent
from scmm_oci.enforcer.monitor.rules.fits import peer_fits
from scmm_oci.enforcer.monitor.rules.model import Peers
from scmm_oci.errors import BadInput, printable
from scmm_oci.kernel.notify import Notification
from scmm_oci.oci.state import is_container_id
from scmm_oci.policy.model import PortRange
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_TARGETS = (Target("0123abcd", "web-1", 100, "/b"), Target("db", "db", 0, ""))
_PROCESSES = (None, Process(1, 1, None, "?", 33), Process(1, 2, "/usr/sbin/nginx", "nginx", 0))
_PATHS = (None, (), ("/etc/nginx/nginx.conf",), ("/etc/shadow", "/srv/www/index.html"))
_ADDRESSES = (
    None,
    address_of(struct.pack("=H", 2) + b"\x15\x38\x0a\x14\0\x01" + bytes(8)),
    address_of(struct.pack("=H", 10) + b"\x01\xbb" + bytes(4) + bytes(15) + b"\1" + bytes(4)),
    address_of(b"\1\0/run/php/fpm.sock\0"),
    address_of(b"\1\0\0scmm"),
    address_of(b"\1\0"),
    address_of(b"\0\0"),
)
_NUMBERS = ((0,) * 6, (1, 2, 0x80000, 0o600, 1 << 32 | 2, (1 << 64) - 1), (22, 2, 0, 0, 0, 0))
_ABIS = (Arch.X86_64, Arch.X86, Arch.X32, Arch.AARCH64)
_LEVELS = (
    Peers(),
    Peers(family="inet"),
    Peers(family="inet6", ports=(PortRange(1, 1023),)),
    Peers(networks=(ipaddress.ip_network("10.0.0.0/8"),)),
    Peers(networks=(ipaddress.ip_network("fe80::/10"),), ports=(PortRange(0, 65535),)),
    Peers(family="unix"),
    Peers(paths=(Pattern.parse("/run/**"),)),
    Peers(names=("s*",)),
)


def fuzz_peer(data):
    """What hands a listener over, behind a byte that says how many descriptors came with it."""
    count, data = data[0] % 4 if data else 0, data[1:]
    whole = _is_whole(Document(), [data])
    begun = Document()
    bit_by_bit = _is_whole(begun, [data[at : at + 1] for at in range(len(data))])
    # Behind its end there is nothing, or it is refused where that comes in one piece with it.
    assert whole == (bit_by_bit and not data[len(begun.data) :].strip(b" \t\r\n"))
    try:
        handed = parse_peer(data, count)
    except BadPeer as error:
        assert str(error)
        return
    assert whole
    assert handed.index < count and 0 <= handed.pid < 1 << 31
    assert is_container_id(handed.state.id)
    assert handed.state.bundle[:1] in ("", "/")


def _is_whole(document, pieces):
    try:
        return any(document.feed(piece) for piece in pieces)
    except BadPeer:
        return False


def fuzz_monitor(data):
    """monitor.yaml → rules, asked about some calls: what they say not to need to know changes nothing."""
    try:
        found = load.parse(data)
    except BadInput as error:
        assert error.problems
        return
    assert 1 <= found.settings.errno <= 4095 and found.settings.timeout >= 1
    rules = Rules(found)
    names = sorted({one for rule in found.rules for one in load.names_of(rule.syscalls or ())})[:8]
    for place, (arch, name) in enumerate((arch, name) for arch in _ABIS for name in (*names, "getpid", None)):
        number = 999 if name is None else syscalls.number_of(arch, name)
        if number is None:
            continue
        what = calls.decode(Notification(1, 1, number, arch.audit, _NUMBERS[place % len(_NUMBERS)]))
        for target in _TARGETS:
            for process, paths, address in zip(_PROCESSES * 3, _PATHS * 2, _ADDRESSES, strict=False):
                _decided(rules, found.rules, Subject(target, what, process, paths, address))


def _decided(rules, written, subject):
    ruled = rules.decide(subject, Spent())
    assert ruled.index is None or ruled.outcome == written[ruled.index].decision
    for needs in (rules.needs(subject.call), rules.needs(subject.call, subject.target)):
        less = subject._replace(
            process=subject.process if needs.process else None,
            paths=subject.paths if needs.paths else None,
            address=subject.address if needs.address else None,
        )
        assert rules.decide(less, Spent()) == ruled
        assert not ruled.looked or needs.paths or needs.address


def fuzz_answer(data):
    """A line of a program that decides → a decision."""
    try:
        number, document = parse(data)
        decision = decision_of(document, number=1)
    except BadAnswer as error:
        assert str(error)
        return
    assert isinstance(number, int) and document["id"] == number
    assert decision.verdict == document["decision"] and 1 <= decision.errno <= 4095
    assert -(1 << 63) <= decision.value < 1 << 63
    assert decision.verdict is Verdict.RETURN or not decision.value
    assert decision.path is None or (decision.verdict is Verdict.ALLOW and decision.path)
    assert json.loads(json.dumps(decision.detail)) == decision.detail


def fuzz_address(data):
    """struct sockaddr as it lies in memory, and the rules that it fits: an unknown one is never let pass for it."""
    address = address_of(data)
    if address is None:
        assert len(data) < 2
        return
    assert address.raw == data and (address.port is None or 0 <= address.port <= 0xFFFF)
    if address.family in ("inet", "inet6") and address.text is not None:
        size = ipaddress.ip_address(address.text).packed
        assert size in data and data[2:4] == address.port.to_bytes(2, "big")
    path = unix_path(data)
    assert path is None or (address.family == "unix" and path and b"\0" not in path)
    words = calls.address_words(address)
    assert words == printable(words) and "\n" not in words
    for bind in (False, True):
        for peers in _LEVELS:
            for paths in (None, (), ("/run/x",)):
                _fits(peers, address, paths, bind=bind)


def _fits(peers, address, paths, *, bind):
    allowed = peer_fits(peers, address, paths, bind=bind, strict=False)
    assert not allowed or peer_fits(peers, address, paths, bind=bind, strict=True)
    blind = Address(address.family, None, None, address.raw)
    if peer_fits(peers, blind, None, bind=bind, strict=False):
        assert peer_fits(peers, address, paths, bind=bind, strict=False)
    if peers != Peers():
        assert not peer_fits(peers, None, paths, bind=bind, strict=False)


def fuzz_call(data):
    """A notification, with memory behind it → the call in words, what it is like, and what it would be on behalf."""
    nr, audit, kind, *args = struct.unpack("<IBB6Q", data[:54].ljust(54, b"\0"))
    rest = data[54:]
    abi = _ABIS[audit % len(_ABIS)]
    audit = abi.audit if audit < 250 else nr
    names = tuple(None if part == b"?" else part for part in rest.split(b"\0")[:2])
    memory = (Memory(), Memory(names, rest[:40], text=rest[:300]), Memory(address=address_of(rest)))[kind % 3]
    number = nr if kind & 128 else nr % 512 | (nr & 0x40000000)
    what = calls.decode(Notification(1, 1, number, audit, tuple(args)))
    assert what.name is None or syscalls.numbers(what.arch)[what.name] == what.nr
    for known in (None, memory):
        words = calls.words(what, known)
        assert words == printable(words) and len(words) <= calls.MOST and "\n" not in words
    assert calls.like(what) == calls.like(what, Memory(names))
    if not table.can(what):
        return
    assert calls.points(what)
    try:
        act = table.act_of(what, memory)
    except (table.Wrong, ValueError):
        return
    assert act.operation in ("connect", "bind") or len(act.directories) in (1, 2)


TARGETS = {
    "peer": fuzz_peer,
    "monitor": fuzz_monitor,
    "answer": fuzz_answer,
    "address": fuzz_address,
    "call": fuzz_call,
}
