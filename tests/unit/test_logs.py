"""Records of the kernel's and the audit log: what they mean, whose they are, what lacks, and what would allow them."""

from __future__ import annotations

import json
import os
import re
import string
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT

from scmm_oci.cli import main
from scmm_oci.cli.logs_words import as_json
from scmm_oci.compiled import bpf
from scmm_oci.compiled.explain import of_a_policy
from scmm_oci.compiled.question import question
from scmm_oci.enforcer.logs import records, sources
from scmm_oci.enforcer.logs.decode import Access, Call, Decoder, Denial, Process
from scmm_oci.enforcer.logs.events import Events
from scmm_oci.enforcer.logs.forks import forked
from scmm_oci.enforcer.logs.reading import Reading
from scmm_oci.enforcer.logs.records import Malformed, Record
from scmm_oci.enforcer.logs.sources import Lost
from scmm_oci.enforcer.logs.suggest import advise
from scmm_oci.enforcer.logs.summary import Summary
from scmm_oci.enforcer.logs.whose import Asked, Judge, Whose, boot
from scmm_oci.errors import BadInput, printable
from scmm_oci.policy import document
from scmm_oci.policy.admit import Files
from scmm_oci.policy.model import Policy
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

# Lines that this machine's kernel wrote (Linux 6.18): a program under filters with each action, and on x86 and x32.
_HEAD = "auid=4294967295 uid=0 gid=0 ses=4294967295"
LOGGED = (
    f'audit(1795647819.414:17022): {_HEAD} pid=14842 comm="python3" exe="/usr/bin/python3.11" '
    "sig=0 arch=c000003e syscall=110 compat=0 ip=0x7fc25e4f34f7 code=0x7ffc0000"
)
KILLED_X86 = (
    f'audit(1795646765.150:15391): {_HEAD} pid=22521 comm="filters" exe="/tmp/filters" '
    "sig=31 arch=40000003 syscall=6 compat=1 ip=0x401933 code=0x80000000"
)
KILLED_X32 = (
    f'audit(1795646765.150:15392): {_HEAD} pid=22523 comm="filters" exe="/tmp/filters" '
    "sig=31 arch=c000003e syscall=1073741991 compat=0 ip=0x401a5d code=0x80000000"
)
KILLED_THREAD = (
    f'audit(1795646767.150:15399): {_HEAD} pid=29968 comm="filters" exe="/tmp/filters" '
    "sig=31 arch=c000003e syscall=260 compat=0 ip=0x401a5d code=0x0"
)
ANSWERED = (
    f'audit(1795647900.125:17030): {_HEAD} pid=3617 comm="python3" exe="/usr/bin/python3.11" '
    "sig=0 arch=c000003e syscall=121 compat=0 ip=0x7fc25e4f34f7 code=0x50000"
)
TRAPPED = (
    f'audit(1795647900.126:17031): {_HEAD} pid=3714 comm="python3" exe="/usr/bin/python3.11" '
    "sig=31 arch=c000003e syscall=162 compat=0 ip=0x7fc25e4f34f7 code=0x30000"
)
# As Documentation/admin-guide/LSM/landlock.rst and security/lsm_audit.c of the kernel have them.
DENIED = 'audit(1795648000.268:30): domain=195ba459b blockers=fs.make_reg,fs.refer path="/srv/data" dev="vda2" ino=351'
DOMAIN = (
    "audit(1795648000.268:30): domain=195ba459b status=allocated mode=enforcing "
    'pid=300 uid=1000 exe="/usr/bin/shop" comm="shop"'
)
CONNECTS = "audit(1795648001.268:31): domain=195ba459b blockers=net.connect_tcp daddr=192.0.2.1 dest=443"
BINDS = "audit(1795648002.268:32): domain=195ba459b blockers=net.bind_tcp saddr=0.0.0.0 src=80"
SIGNALS = 'audit(1795648003.268:33): domain=195ba459b blockers=scope.signal opid=1 ocomm="systemd"'


def kmsg(body: str, *, kind: int = 1326, facility: int = 0, sequence: int = 7) -> bytes:
    return f"{facility * 8 + 5},{sequence},28012388062,-;audit: type={kind} {body}\n".encode()


def record(body: str, kind: int = 1326) -> Record:
    line = records.kernel_line(kmsg(body, kind=kind))
    assert line is not None
    found = records.of_kernel_line(line)
    assert found is not None
    return found


def decoded(*bodies: tuple[int, str]) -> list[Denial]:
    decoder = Decoder()
    found = [denial for kind, body in bodies for denial in decoder.feed(record(body, kind))]
    assert decoder.unknown == 0
    return [*found, *decoder.flush()]


def call(body: str) -> Call:
    (found,) = decoded((1326, body))
    assert isinstance(found, Call)
    return found


# Records


def test_a_record_is_the_same_in_every_log() -> None:
    name = LOGGED.replace("audit(", "type=SECCOMP msg=audit(", 1)
    expected = record(LOGGED)
    assert records.of_text(f"audit: type=1326 {LOGGED}\n") == expected
    assert records.of_text(f"[28012.388062] audit: type=1326 {LOGGED}") == expected
    assert records.of_text(f"Nov 25 23:03:39 vm kernel: audit: type=1326 {LOGGED}") == expected
    assert records.of_text(name) == expected
    assert records.of_text(name.replace("SECCOMP", "UNKNOWN[1326]")) == expected
    assert records.of_text(f'node=web {name}\x1dARCH=x86_64 SYSCALL=getppid AUID="unset"') == expected
    assert records.of_netlink(1326, LOGGED.encode() + b"\0") == expected
    assert expected.at == 1795647819414 and expected.serial == 17022


@pytest.mark.parametrize(
    ("body", "arch", "name", "action", "passed", "pid", "signal_name"),
    [
        (LOGGED, Arch.X86_64, "getppid", "LOG", True, 14842, None),
        (KILLED_X86, Arch.X86, "close", "KILL_PROCESS", False, 22521, "SIGSYS"),
        (KILLED_X32, Arch.X32, "swapon", "KILL_PROCESS", False, 22523, "SIGSYS"),
        (KILLED_THREAD, Arch.X86_64, "fchownat", "KILL_THREAD", False, 29968, "SIGSYS"),
        (ANSWERED, Arch.X86_64, "getpgid", "ERRNO", False, 3617, None),
        (TRAPPED, Arch.X86_64, "sync", "TRAP", False, 3714, "SIGSYS"),
    ],
)
def test_calls_have_names(
    body: str, arch: Arch, name: str, action: str, passed: bool, pid: int, signal_name: str | None
) -> None:
    found = call(body)
    assert (found.arch, found.name, found.action, found.passed) == (arch, name, action, passed)
    assert (found.process.pid, found.process.uid, found.signal) == (pid, 0, signal_name)


def test_numbers_and_abis_without_names_are_kept() -> None:
    assert call(LOGGED.replace("syscall=110", "syscall=-1")).nr == 0xFFFFFFFF
    strange = call(LOGGED.replace("syscall=110", "syscall=100000"))
    assert (strange.arch, strange.name, strange.nr) == (Arch.X86_64, None, 100000)
    foreign = call(LOGGED.replace("arch=c000003e", "arch=c0000102"))
    assert (foreign.arch, foreign.audit, foreign.name) == (None, 0xC0000102, None)


def test_odd_names_are_hexadecimal_and_bytes_survive() -> None:
    odd = LOGGED.replace('"python3"', b"a b\x1b\xff".hex().upper())
    found = call(odd)
    assert found.process.comm == "a b\x1b\udcff"
    assert printable(found.process.comm).isprintable()
    # What only looks so is quoted.
    assert call(LOGGED.replace('"python3"', '"DEAD"')).process.comm == "DEAD"
    assert call(LOGGED.replace('exe="/usr/bin/python3.11"', "exe=(null)")).process.exe is None


def test_a_security_module_may_have_spaces_in_its_words() -> None:
    with_subject = LOGGED.replace(" pid=", " subj=docker-default (enforce) pid=")
    assert record(with_subject) == record(LOGGED)


def test_only_the_kernel_is_believed() -> None:
    """Whoever may write to /dev/kmsg can say anything there, and the kernel notes that it was not itself."""
    line = records.kernel_line(kmsg(LOGGED, facility=1))
    assert line is not None and records.of_kernel_line(line) is None
    line = records.kernel_line(kmsg(LOGGED))
    assert line is not None and records.of_kernel_line(line) is not None


def test_backslashes_of_the_kernels_log_are_undone() -> None:
    line = records.kernel_line(kmsg(LOGGED.replace('"python3"', r'"a\x5cx22b"')))
    assert line is not None
    found = records.of_kernel_line(line)
    assert found is not None and found.text("comm") == r"a\x22b"


@pytest.mark.parametrize(
    "body",
    [
        LOGGED[:120],  # cut within quotes
        LOGGED.replace('comm="python3"', 'comm="a" pid=1 b"'),
        LOGGED + " pid=1",
        LOGGED.replace(" sig=0", "  sig=0"),
        LOGGED.replace("sig=0", "sig 0"),
        LOGGED.replace("sig=0", 'sig="0'),
    ],
)
def test_what_cannot_be_told_apart_is_no_record(body: str) -> None:
    with pytest.raises(Malformed):
        record(body)
    assert record(LOGGED).number("sig") == 0


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "[ 12.5] ",
        "[Thu May 21 00:50:00 2026] ",
        "[ 12.5 <    0.000004>] ",
        "[ 12.5][  T50] ",
        "[ 12.5] [  T50] ",
        "<5>[ 12.5] ",
        "kern  :notice: [ 12.5] ",
        "2026-05-21T00:50:00,123456+00:00 ",
        "May 21 00:50:01 host kernel: ",
        "May  1 00:50:01 host kernel: [   12.5] ",
        "2026-05-21T00:50:00+0000 host kernel: ",
        "Thu 2026-05-21 00:50:01 UTC host kernel: ",
    ],
)
def test_lines_are_read_in_all_forms_that_dmesg_and_journalctl_have(prefix: str) -> None:
    found = records.of_text(f"{prefix}audit: type=1326 {LOGGED}\n")
    assert found == record(LOGGED)
    lost = f"{prefix}audit: audit_lost=12 audit_rate_limit=0 audit_backlog_limit=64\n"
    assert records.given_up_of_text(lost) == 12


@pytest.mark.parametrize("prefix", ["host kernel: ", "May 21 00:50:01 host prog: x kernel: ", "x: ", "kernel: x ", "["])
def test_what_other_programs_say_is_no_record(prefix: str) -> None:
    assert records.of_text(f"{prefix}audit: type=1326 {LOGGED}\n") is None
    lost = f"{prefix}audit: audit_lost=12 audit_rate_limit=0 audit_backlog_limit=64\n"
    assert records.given_up_of_text(lost) == 0


@pytest.mark.parametrize("seconds", ["253402214400", "999999999999"])
def test_a_time_without_a_date_is_none(seconds: str) -> None:
    late = LOGGED.replace("1795647819", seconds)
    with pytest.raises(Malformed):
        record(late)
    assert record(LOGGED.replace("1795647819", "253402214399")).at == 253402214399414


def test_an_action_that_is_cut_off_is_no_action() -> None:
    for end in range(1, len("7ffc0000")):
        decoder = Decoder()
        (body,) = [LOGGED.removesuffix("7ffc0000") + "7ffc0000"[:end]]
        known = list(decoder.feed(record(body)))
        # Nothing else is said to have been returned; a number that no filter of ours has is told as it is.
        assert all(isinstance(one, Call) and one.code not in bpf_actions() for one in known)
        assert decoder.unknown == 1 - len(known)
    cut = LOGGED.replace("7ffc0000", "5")
    assert decoded_anyway(cut) == [] and len(decoded_anyway(cut.replace("code=0x5", "code=0x50000"))) == 1


def bpf_actions() -> set[int]:
    return {bpf.RET_KILL_PROCESS, bpf.RET_KILL_THREAD, bpf.RET_TRAP, bpf.RET_ERRNO, bpf.RET_LOG, bpf.RET_ALLOW}


def decoded_anyway(body: str) -> list[Denial]:
    return list(Decoder().feed(record(body)))


def test_other_types_are_counted_and_not_read() -> None:
    forged = f"audit(1.000:5): pid=1 uid=0 msg='op=x audit: type=1326 {LOGGED}'"
    found = record(forged, kind=1112)
    assert found.fields == {} and found.serial == 5
    assert list(Decoder().feed(found)) == []


def test_a_record_without_what_it_needs_is_counted() -> None:
    decoder = Decoder()
    assert list(decoder.feed(record(LOGGED.replace(" code=0x7ffc0000", "")))) == []
    assert list(decoder.feed(record(LOGGED.replace("pid=14842", "pid=x")))) == []
    assert list(decoder.feed(record(DENIED.replace("blockers=fs.make_reg,fs.refer", "blockers=,"), 1423))) == []
    assert decoder.unknown == 3


_PIECES = st.one_of(
    st.text(alphabet=string.printable + "\x1b\x9f\u202e\udcff", max_size=20),
    st.sampled_from(
        ["pid=1", 'comm="x"', "comm=41", "subj=a b", " ", "  ", '"', "=", "type=1326 ", "audit(1.000:1): ", LOGGED]
    ),
)


@given(st.lists(_PIECES, max_size=12).map("".join), st.sampled_from([1326, 1423, 1424, 1300]))
def test_hostile_lines_give_a_whole_record_or_none(text: str, kind: int) -> None:
    body = f"audit(1.000:2): {text}"
    decoder = Decoder()
    data = f"audit: type={kind} {body}"
    for read in (
        lambda: records.of_text(data),
        lambda: records.of_text(text),
        lambda: records.of_netlink(kind, body.encode("utf-8", "surrogateescape")),
    ):
        try:
            found = read()
        except Malformed:
            continue
        if found is None:
            continue
        assert all(text.count(f"{name}=") for name in found.fields)
        for denial in [*decoder.feed(found), *decoder.flush()]:
            if isinstance(denial, Call):
                assert denial.process.pid is not None and 0 <= denial.nr <= 0xFFFFFFFF
            else:
                assert all(denial.blockers)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_no_message_or_one(data: bytes) -> None:
    for each in (data, b"5,1,2,-;" + data, kmsg(LOGGED)[:40] + data):
        line = records.kernel_line(each)
        if line is None:
            continue
        assert line.facility >= 0
        try:
            found = records.of_kernel_line(line)
        except Malformed:
            continue
        assert found is None or line.facility == 0


@given(st.binary(min_size=1, max_size=16).filter(lambda raw: b"\0" not in raw))
def test_any_name_can_be_read(raw: bytes) -> None:
    """As the kernel writes it: quoted, or in hexadecimal where a byte is a quote, a space, or not printable."""
    plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
    written = f'"{raw.decode("ascii")}"' if plain else raw.hex().upper()
    body = LOGGED.replace('"python3"', written)
    found = records.of_text(f"audit: type=1326 {body}")
    assert found is not None
    name = found.text("comm")
    assert name is not None and name.encode("utf-8", "surrogateescape") == raw
    assert found.number("pid") == 14842


# Landlock


def test_a_denial_of_landlock_is_its_domains_process() -> None:
    first, second, third, fourth = decoded(
        (1423, DENIED), (1424, DOMAIN), (1423, CONNECTS), (1423, BINDS), (1423, SIGNALS)
    )
    for each in (first, second, third, fourth):
        assert isinstance(each, Access)
        assert (each.process.pid, each.process.comm, each.process.exe, each.process.uid) == (
            300, "shop", "/usr/bin/shop", 1000,
        )  # fmt: skip
    assert isinstance(first, Access) and first.blockers == ("fs.make_reg", "fs.refer") and first.path == "/srv/data"
    assert isinstance(second, Access) and (second.port, second.address) == (443, "192.0.2.1")
    assert isinstance(third, Access) and (third.port, third.address) == (80, "0.0.0.0")
    assert isinstance(fourth, Access) and fourth.other is not None and fourth.other.comm == "systemd"


def test_a_call_in_the_same_event_knows_the_very_process() -> None:
    syscall = (
        "audit(1795648000.268:30): arch=c000003e syscall=257 success=no exit=-13 a0=ffffff9c ppid=300 pid=301 "
        'auid=0 uid=33 comm="child" exe="/usr/bin/child" key=(null)'
    )
    (found,) = decoded((1423, DENIED), (1424, DOMAIN), (1300, syscall))
    assert (found.process.pid, found.process.comm, found.process.uid) == (301, "child", 33)
    (other,) = decoded((1423, DENIED), (1424, DOMAIN), (1300, syscall.replace(":30)", ":31)")))
    assert other.process.pid == 300


def test_a_call_of_another_boot_is_another_event() -> None:
    syscall = (
        "audit(1795640000.268:30): arch=c000003e syscall=257 success=no exit=-13 ppid=300 pid=301 "
        'auid=0 uid=33 comm="child" exe="/usr/bin/child" key=(null)'
    )
    (other,) = decoded((1423, DENIED), (1424, DOMAIN), (1300, syscall))
    assert other.process.pid == 300
    (same,) = decoded((1423, DENIED), (1424, DOMAIN), (1300, syscall.replace("1795640000", "1795648000")))
    assert same.process.pid == 301
    # A record that does not say who made the call takes nothing away.
    nobody = syscall.replace("1795640000", "1795648000").replace(" pid=301", "")
    (known,) = decoded((1423, DENIED), (1424, DOMAIN), (1300, nobody))
    assert known.process.pid == 300


def test_the_rest_of_an_event_may_be_on_its_way() -> None:
    decoder = Decoder()
    assert list(decoder.feed(record(DENIED, 1423))) == []
    assert list(decoder.flush(more=True)) == []
    assert list(decoder.feed(record(DOMAIN, 1424))) == [] and list(decoder.feed(record(CONNECTS, 1423))) == []
    # What has waited once has waited enough; the next one waits.
    (first,) = decoder.flush(more=True)
    assert first.process.pid == 300 and first.serial == 30
    (second,) = decoder.flush()
    assert second.serial == 31 and list(decoder.flush()) == []
    control = Decoder()
    assert list(control.feed(record(DENIED, 1423))) == []
    (alone,) = control.flush()
    assert alone.process.pid is None


def test_a_domain_nobody_has_told_of_stays_unknown() -> None:
    (found,) = decoded((1423, DENIED))
    assert found.process.pid is None
    assert Judge(Asked(comm="shop")).judge(found) is Whose.UNKNOWN
    assert Judge(Asked()).judge(found) is Whose.OURS


# What lacks


def test_events_that_were_not_read_are_counted_and_none_is_taken_twice() -> None:
    events = Events()
    base = record(LOGGED)
    numbers = [10, 11, 15, 13, 15]
    assert [events.take(replace(base, serial=number)) for number in numbers] == [True, True, True, True, False]
    assert (events.read, events.missing) == (4, 2)
    # One event can have more than one record.
    assert events.take(replace(base, serial=15, type=1300))
    assert events.missing == 2
    # Another boot begins to count anew.
    events.take(replace(base, serial=500_000))
    before = events.missing
    events.take(replace(base, serial=3))
    events.take(replace(base, serial=5))
    assert events.missing == before + 1
    # … also if it has come less far.
    events.take(replace(base, serial=900))
    before = events.missing
    events.take(replace(base, serial=2, at=base.at + 100_000))
    assert events.missing == before


@given(st.sets(st.integers(0, 300), min_size=1).flatmap(lambda found: st.permutations(sorted(found))))
def test_the_order_of_events_does_not_matter(serials: list[int]) -> None:
    events = Events()
    base = record(LOGGED)
    for number in serials:
        events.take(replace(base, serial=number))
    assert events.missing == max(serials) - min(serials) + 1 - len(serials)


def test_what_the_kernel_keeps_to_itself_is_said() -> None:
    line = records.kernel_line(b"4,1395,28012388056,-;kauditd_printk_skb: 1035 callbacks suppressed\n")
    assert line is not None and records.suppressed(line) == 1035
    forged = records.kernel_line(b"12,1395,28012388056,-;kauditd_printk_skb: 1035 callbacks suppressed\n")
    assert forged is not None and records.suppressed(forged) == 0


def test_a_file_is_read_line_by_line_whatever_is_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    long = b"x" * (3 * records.MOST_BYTES) + f"audit: type=1326 {LOGGED}\n".encode()
    log.write_bytes(long + b"\0\xff\n" + f"audit: type=1326 {LOGGED[:90]}\naudit: type=1326 {ANSWERED}".encode())
    lost = Lost()
    found = list(sources.text_file(str(log), lost))
    assert [one.serial for one in found] == [17030] and lost.malformed == 1
    with pytest.raises(BadInput, match="cannot be read"):
        list(sources.text_file(str(tmp_path / "none"), lost))
    with pytest.raises(BadInput, match="cannot be read"):
        list(sources.text_file(str(tmp_path), lost))
    with pytest.raises(BadInput, match="it is a device"):
        list(sources.text_file("/dev/zero", lost))
    os.mkfifo(tmp_path / "fifo")
    assert list(sources.text_file(str(tmp_path / "fifo"), lost)) == []


def test_of_a_pipe_all_is_read_that_its_writer_will_write(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    read = sources.text_file(f"/dev/fd/{reading}", Lost())
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(f"audit: type=1326 {LOGGED}\n".encode())
        assert next(read).serial == 17022
        # The rest is written while it is waited for.
        second = f"audit: type=1326 {ANSWERED}\n"
        with subprocess.Popen(
            ["/bin/sh", "-c", 'read go; printf %s "$0"', second], stdin=subprocess.PIPE, stdout=pipe
        ) as late:
            pipe.close()
            assert late.stdin is not None
            late.stdin.write(b"\n")
            late.stdin.close()
            assert [one.serial for one in read] == [17030]
    os.close(reading)


@pytest.mark.parametrize("mode", [0o700, 0o600])
def test_an_audit_log_that_we_may_not_look_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setattr(sources, "AUDIT_LOG", str(tmp_path / "audit/audit.log"))
    (tmp_path / "audit").mkdir()
    assert sources.audit_logs() == []
    for name in ("audit.log", "audit.log.2"):
        (tmp_path / "audit" / name).touch()
    listed = [str(tmp_path / "audit" / name) for name in ("audit.log.2", "audit.log")]
    assert sources.audit_logs() == listed
    (tmp_path / "audit").chmod(mode)

    def refused(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    if not mode & 0o100:
        monkeypatch.setattr(Path, "exists", refused)  # root would be let in
        listed = listed[-1:]
    assert sources.audit_logs() == listed


# Whose


def at(denial: Denial, pid: int, moment: int | None = None) -> Denial:
    return replace(denial, process=replace(denial.process, pid=pid), at=denial.at if moment is None else moment)


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A process and one that it has started, which wait; they are ended with the test's own pipe."""
    script = "import subprocess, sys; c = subprocess.Popen(['cat']); print(c.pid, flush=True); c.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        yield parent.pid, child
        assert parent.stdin is not None
        parent.stdin.close()


def test_processes_are_asked_for_with_what_they_started(family: tuple[int, int]) -> None:
    parent, child = family
    now = boot() + (1 << 40)
    judge = Judge(Asked(pids=(parent,)))
    one = call(LOGGED)
    assert judge.judge(at(one, parent, now)) is Whose.OURS
    assert judge.judge(at(one, child, now)) is Whose.OURS
    assert judge.judge(at(one, os.getpid(), now)) is Whose.OTHERS
    # The child alone does not have its parent.
    assert Judge(Asked(pids=(child,))).judge(at(one, parent, now)) is Whose.OTHERS
    # Before it began, the number was another process's.
    assert judge.judge(at(one, parent, boot())) is Whose.OTHERS
    assert judge.ended == ()


def test_of_processes_that_have_ended_only_the_number_is_known() -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    one = call(LOGGED)
    judge = Judge(Asked(pids=(gone.pid,)))
    assert judge.ended == (gone.pid,)
    assert judge.judge(at(one, gone.pid)) is Whose.OURS
    other = Judge(Asked(pids=(os.getpid(),)))
    assert other.judge(at(one, gone.pid)) is Whose.UNKNOWN


def test_numbers_in_a_file_are_not_those_of_processes_here(family: tuple[int, int]) -> None:
    parent, child = family
    one = call(LOGGED)  # long before these processes began, or after: a file can be of another machine
    for moment in (one.at, boot() + (1 << 40)):
        judge = Judge(Asked(pids=(parent,)), here=False)
        assert judge.judge(at(one, parent, moment)) is Whose.OURS
        assert judge.judge(at(one, child, moment)) is Whose.UNKNOWN
        assert judge.judge(at(one, os.getpid(), moment)) is Whose.UNKNOWN
    # Here, the first of them is another process's.
    assert Judge(Asked(pids=(parent,))).judge(at(one, parent, boot())) is Whose.OTHERS


class Told:
    """What the kernel tells of new processes."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def read(self) -> Iterator[tuple[int, int]]:
        pairs, self.pairs = self.pairs, []
        yield from pairs


def test_processes_that_have_ended_are_known_by_who_started_them() -> None:
    told = Told()
    us = os.getpid()
    gone, next_one, stranger = 2**22 + 1, 2**22 + 2, 2**22 + 3  # above every process id (PID_MAX_LIMIT)
    judge = Judge(Asked(pids=(us,)), told)  # type: ignore[arg-type]
    one = call(LOGGED)
    assert judge.judge(at(one, gone)) is Whose.UNKNOWN
    told.pairs = [(us, gone), (gone, next_one), (1, stranger)]
    assert judge.judge(at(one, next_one)) is Whose.OURS
    assert judge.judge(at(one, gone)) is Whose.OURS
    assert judge.judge(at(one, stranger)) is Whose.OTHERS
    # A number that is used again is another process's.
    told.pairs = [(1, next_one)]
    judge.listen()
    assert judge.judge(at(one, next_one)) is Whose.OTHERS
    assert judge.judge(at(one, gone)) is Whose.OURS


def test_messages_about_new_processes() -> None:
    def message(what: int, parent: int, thread: int, child: int, index: int = 1) -> bytes:
        # The parent's thread stands before its process.
        event = struct.pack("=IIQ4I", what, 0, 0, parent + 1, parent, thread, child)
        return struct.pack("=IHHIIIIIIHH", 0, 3, 0, 0, 0, index, 1, 0, 0, len(event), 0) + event

    assert forked(message(1, 10, 11, 11)) == (10, 11)
    assert forked(message(1, 10, 12, 11)) is None  # a thread
    assert forked(message(2, 10, 11, 11)) is None  # an exec
    assert forked(message(1, 10, 11, 11, index=2)) is None
    assert forked(message(1, 10, 11, 11)[:-1]) is None


def test_names_paths_and_times_are_asked_for() -> None:
    one = call(LOGGED)
    assert Judge(Asked(comm="python3")).judge(one) is Whose.OURS
    assert Judge(Asked(comm="python")).judge(one) is Whose.OTHERS
    assert Judge(Asked(comm="python3", exe="/usr/bin/python3.11")).judge(one) is Whose.OURS
    assert Judge(Asked(comm="python3", exe="/bin/sh")).judge(one) is Whose.OTHERS
    assert Judge(Asked(since=one.at)).judge(one) is Whose.OURS
    assert Judge(Asked(since=one.at + 1)).judge(one) is Whose.EARLIER
    # The kernel keeps 15 bytes of a name.
    long = call(LOGGED.replace('"python3"', '"a-very-long-nam"'))
    assert Judge(Asked(comm="a-very-long-name-indeed")).judge(long) is Whose.OURS


def test_a_summary_counts_what_is_the_same() -> None:
    summary = Summary()
    one = call(LOGGED)
    for pid in (1, 2, 2):
        summary.add(replace(one, serial=pid, process=replace(one.process, pid=pid)))
    summary.add(call(ANSWERED))
    # The user, the file, the answer and the ABI make another one; so does what was to be reached.
    for other in (
        replace(one, process=replace(one.process, uid=1)),
        replace(one, process=replace(one.process, exe=None)),
        replace(one, code=bpf.RET_TRAP),
        replace(one, arch=Arch.X86),
        *(replace(denied("scope.signal"), other=who) for who in (None, Process(1), Process(comm="x"))),
        *(replace(denied("net.connect_tcp"), port=port) for port in (1, 2)),
    ):
        kinds = len(summary.rows)
        summary.add(other)
        summary.add(replace(other, at=other.at + 1, serial=other.serial + 1))
        assert len(summary.rows) == kinds + 1
    summary = Summary()
    for pid in (1, 2, 2):
        summary.add(replace(one, serial=pid, process=replace(one.process, pid=pid)))
    summary.add(call(ANSWERED))
    assert [(row.count, row.pids) for row in summary.rows] == [(3, {1, 2}), (1, {3617})]
    assert summary.total == 4


# What would allow it

POLICY = """\
version: "1.0"
settings: {default_action: deny, log_denials: true}
syscalls:
  - {names: [read, getpgid], action: allow}
  - {name: sync, action: trap}
  - {name: getppid, action: log}
  - name: socket
    action: allow
    constraints:
      - {arg: "0", type: integer, allowed: [AF_INET]}
  - name: clone
    action: kill
    constraints:
      - {arg: "0", type: flags, denied: [CLONE_THREAD]}
  - {name: "@swap", action: kill}
filesystem:
  rules:
    - {path: /srv/data, access: [read_file], on_missing: precreate}
    - {path: /usr, access: [read_file, execute]}
network:
  outbound:
    - {protocol: tcp, ports: [80]}
scopes: [abstract_unix_socket, signal]
"""


def policy(text: str = POLICY) -> Policy:
    return document.parse(text.encode())


def answers(one: Policy, name: str, arch: Arch = Arch.X86_64) -> set[int]:
    return {outcome.value for outcome in of_a_policy(one, question(name, [], arch)).outcomes}


def applied(denial: Denial, text: str = POLICY) -> Policy:
    """The policy with the lines that are suggested, put where they are said to go."""
    import yaml

    (advice,) = advise([denial], policy(text))
    assert advice.lines
    whole = yaml.safe_load(text)
    for line in advice.lines:
        new = yaml.safe_load(line.text)
        if line.section in ("settings", "scopes"):
            (whole if line.section == "scopes" else whole["settings"]).update(new)
            continue
        place = whole
        for step in line.section.split("."):
            place = place.setdefault(step, [] if step == line.section.split(".")[-1] else {})
        if line.section == "syscalls":
            # Rules are counted one for each name.
            place[:] = [{**one, "name": name} for one in place for name in one.pop("names", [one.get("name")])]
        for index in sorted(line.replaces, reverse=True):
            del place[index]
        place += new
    return document.parse(json.dumps(whole).encode())


def refused(name: str, code: int = bpf.RET_ERRNO, arch: Arch = Arch.X86_64) -> Call:
    from scmm_oci.tables.syscalls import number_of

    nr = number_of(arch, name)
    assert nr is not None
    return replace(call(ANSWERED), name=name, nr=nr, arch=arch, audit=arch.audit, code=code)


@cache
def before(name: str) -> set[int]:
    return answers(policy(), name)


@pytest.mark.parametrize(
    ("denial", "replaced"),
    [
        (refused("mkdir"), ()),
        (refused("sync", bpf.RET_TRAP), (2,)),
        (refused("getppid", bpf.RET_LOG), (3,)),
        (refused("socket"), ()),
        (refused("clone", bpf.RET_KILL_PROCESS), (5,)),
        (refused("swapon", bpf.RET_KILL_PROCESS), ()),
    ],
)
def test_the_line_for_a_call_allows_it(denial: Call, replaced: tuple[int, ...]) -> None:
    assert denial.name is not None
    assert answers(policy(), denial.name) != {bpf.RET_ALLOW}
    (advice,) = advise([denial], policy())
    assert [line.text for line in advice.lines] == [f"- {{name: {denial.name}, action: allow}}"]
    assert advice.lines[0].replaces == replaced
    changed = applied(denial)
    assert answers(changed, denial.name) == {bpf.RET_ALLOW}
    # Nothing else is; each of these tests looks at another third of the calls.
    assert before("rmdir") == {bpf.RET_ERRNO | 1}
    for name in [*sorted(numbers(Arch.X86_64))[len(denial.name) % 3 :: 3], "sync", "swapoff", "socket", "getppid"]:
        assert name == denial.name or answers(changed, name) == before(name), name


def test_what_depends_on_arguments_is_said() -> None:
    (advice,) = advise([refused("socket")], policy())
    assert any("argument 0 is AF_INET" in note for note in advice.notes)
    (plain,) = advise([refused("mkdir")], policy())
    assert plain.notes == ("by this policy it is not made, and answers EPERM",)


def test_a_call_that_the_policy_allows_was_refused_by_another() -> None:
    (advice,) = advise([refused("read")], policy())
    assert advice.lines == () and "another filter" in advice.notes[0]


def test_another_abi_takes_a_line_of_its_own() -> None:
    denial = refused("mkdir", bpf.RET_KILL_PROCESS, Arch.X86)
    (advice,) = advise([denial], policy())
    assert [line.text for line in advice.lines] == [
        "architectures: [x86_64, x86]",
        "- {name: mkdir, action: allow}",
    ]
    assert answers(applied(denial), "mkdir", Arch.X86) == {bpf.RET_ALLOW}
    # One that the machine does not run cannot be had.
    (foreign,) = advise([refused("mkdirat", arch=Arch.AARCH64)], policy())
    assert foreign.lines == () and "x86_64" in foreign.notes[0]
    (nameless,) = advise([replace(refused("mkdir"), name=None, nr=100000)], policy())
    assert nameless.lines == ()


def test_calls_of_one_name_are_one_piece_of_advice() -> None:
    first, second = refused("mkdir"), replace(refused("mkdir"), serial=9)
    assert len(advise([first, second], policy())) == 1


def denied(*blockers: str, **changes: object) -> Access:
    (found,) = decoded((1423, DENIED), (1424, DOMAIN))
    assert isinstance(found, Access)
    return replace(found, blockers=blockers, path=None, **changes)  # type: ignore[arg-type]


def test_the_line_for_a_path_grants_it() -> None:
    denial = replace(denied("fs.make_reg", "fs.remove_file"), path="/srv/other [x]")
    (advice,) = advise([denial], policy())
    assert advice.lines[0].section == "filesystem.rules" and advice.lines[0].replaces == ()
    rules = applied(denial).filesystem
    assert rules is not None
    assert Files(rules).rights("/srv/other [x]") == {"make_reg", "remove_file"}
    assert Files(rules).rights("/srv/other x") == frozenset()


def test_a_rule_for_the_path_gets_what_it_lacks() -> None:
    denial = replace(denied("fs.write_file"), path="/srv/data")
    (advice,) = advise([denial], policy())
    assert advice.lines[0].text == "- {path: /srv/data, access: [write_file, read_file], on_missing: precreate}"
    assert advice.lines[0].replaces == (0,)
    rules = applied(denial).filesystem
    assert rules is not None and len(rules) == 2


def test_a_path_that_an_exception_takes_out_is_granted_by_its_line() -> None:
    text = POLICY.replace(
        "{path: /usr, access: [read_file, execute]}",
        "{path: /usr/**, access: [read_file, execute], except: [/usr/local]}",
    )
    denial = replace(denied("fs.read_file"), path="/usr/local/x")
    before, after = policy(text).filesystem, applied(denial, text).filesystem
    assert before is not None and after is not None
    assert Files(before).rights("/usr/local/x") == frozenset()
    assert Files(after).rights("/usr/local/x") == {"read_file"}
    for other in ("/usr/local/y", "/usr/local", "/usr/bin/x", "/etc"):
        assert Files(after).rights(other) == Files(before).rights(other)


def test_what_has_been_removed_is_told_by_the_name_it_had() -> None:
    denial = replace(denied("fs.write_file"), path="/srv/gone (deleted)")
    (advice,) = advise([denial], policy())
    assert [line.text for line in advice.lines] == ["- {path: /srv/gone, access: [write_file]}"]
    assert "it had been removed" in advice.notes[0]
    (there,) = advise([replace(denial, path="/srv/gone")], policy())
    assert there.lines == advice.lines and "removed" not in there.notes[0]


_WORDS = st.text(alphabet="ab*?[]{}\\ \n\u00e9\udcff'\"#:", min_size=1, max_size=6).filter(
    lambda word: word.strip(".") and not word.endswith(" (deleted)")
)


@given(
    st.lists(_WORDS, min_size=1, max_size=4),
    st.sets(st.sampled_from(["read_file", "write_file", "make_reg", "remove_dir", "refer", "truncate"]), min_size=1),
)
def test_the_line_for_any_path_grants_it_and_nothing_beside(words: list[str], rights: set[str]) -> None:
    path = "/srv/" + "/".join(words)
    denial = replace(denied(*(f"fs.{right}" for right in sorted(rights))), path=path)
    before, after = policy().filesystem, applied(denial).filesystem
    assert before is not None and after is not None
    assert Files(after).rights(path) >= rights
    for other in (path + "x", path[:-1] + "z", path.rpartition("/")[0], "/srv", "/", "/usr/bin/env"):
        assert Files(after).rights(other) == Files(before).rights(other), other


def test_a_path_that_is_granted_or_cannot_be_written_has_no_line() -> None:
    (granted,) = advise([replace(denied("fs.execute"), path="/usr/bin/env")], policy())
    assert granted.lines == () and "grants it" in granted.notes[0]
    for path in ("relative", "", None, "/a/../b", "/" + "x" * 5000):
        (advice,) = advise([replace(denied("fs.read_file"), path=path)], policy())
        assert advice.lines == ()
    (elsewhere,) = advise([replace(denied("fs.read_file"), path="/x")], replace(policy(), filesystem=None))
    assert elsewhere.lines == () and "another Landlock domain" in elsewhere.notes[0]


def test_the_line_for_a_port() -> None:
    out, inn = replace(denied("net.connect_tcp"), port=443), replace(denied("net.bind_tcp"), port=80)
    for denial, section in ((out, "network.outbound"), (inn, "network.inbound")):
        (advice,) = advise([denial], policy())
        assert [line.section for line in advice.lines] == [section]
        changed = applied(denial).network
        assert changed is not None
        rules = changed.outbound if denial is out else changed.inbound
        assert any(str(ports) == str(denial.port) for rule in rules for ports in rule.ports)
    (known,) = advise([replace(denied("net.connect_tcp"), port=80)], policy())
    assert known.lines == ()


def test_port_0_is_not_printed_and_is_one() -> None:
    bare = "audit(1795648002.268:32): domain=195ba459b blockers=net.bind_tcp"
    (found,) = decoded((1423, bare))
    assert isinstance(found, Access) and found.port == 0
    (advice,) = advise([found], policy())
    assert [line.text for line in advice.lines] == ["- {protocol: tcp, ports: [0]}"]
    (other,) = decoded((1423, bare.replace("net.bind_tcp", "scope.signal")))
    assert isinstance(other, Access) and other.port is None
    (bound,) = decoded((1423, bare + " saddr=192.0.2.1"))
    assert isinstance(bound, Access) and (bound.port, bound.address) == (0, "192.0.2.1")


def test_scopes_are_one_list() -> None:
    both = [denied("scope.signal"), denied("scope.abstract_unix_socket")]
    (advice,) = advise(both, policy())
    assert [line.text for line in advice.lines] == ["scopes: []"]
    (one, other) = advise(both, replace(policy(), scopes=policy().scopes[:1] if policy().scopes else None))
    assert [line.text for line in one.lines] == ["scopes: []"] and one.what == "scope.abstract_unix_socket"
    assert other.lines == () and "does not ask for it" in other.notes[0]


def test_scopes_and_what_no_line_allows() -> None:
    (signals,) = advise([denied("scope.signal")], policy())
    assert [(line.section, line.text) for line in signals.lines] == [("scopes", "scopes: [abstract_unix_socket]")]
    assert [scope.value for scope in applied(denied("scope.signal")).scopes or ()] == ["abstract_unix_socket"]
    for word in ("ptrace", "fs.change_topology", "unknown", "fs.no_such_right"):
        (advice,) = advise([denied(word)], policy())
        assert advice.lines == () and "no line allows it" in advice.notes[0]


# The command


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.main(["logs", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    kinds = [(1326, LOGGED), (1326, ANSWERED), (1326, TRAPPED), (1326, KILLED_X86), (1423, DENIED), (1424, DOMAIN)]
    path.write_text("".join(f"audit: type={kind} {body}\n" for kind, body in kinds))
    return path


def test_a_table_and_lines_of_policy(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.scmm.yaml").write_text(POLICY)
    code, out, err = run(capsys, "--comm", "python3", "--file", str(log), "-p", str(tmp_path / "p.scmm.yaml"))
    assert code == 0
    assert "refused or logged: 3" in out and "filters" not in out
    assert "instead of line 5, .syscalls[1]" in out and "- {name: sync, action: allow}" in out
    assert "2 of other processes are not shown" in err
    assert "audit events between these are not in the log" in err


def test_json_has_all_of_it(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--all", "--json", "--file", str(log))
    found = json.loads(out)
    assert code == 0 and found["total"] == 5 and found["others"] == found["unknown"] == 0
    names = {one.get("name") for one in found["denials"]}
    assert names == {"getppid", "getpgid", "sync", "close", None}
    (landlock,) = [one for one in found["denials"] if one["layer"] == "landlock"]
    assert landlock["path"] == "/srv/data" and landlock["pids"] == [300]
    assert "advice" not in found


def test_what_was_refused_to_a_number_in_a_file(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(log.read_text().replace("pid=3617", "pid=1").replace("audit(1795647900", "audit(1600000000"))
    _, out, _ = run(capsys, "--pid", "1", "--json", "--file", str(log))
    found = json.loads(out)
    assert [(one["name"], one["pids"]) for one in found["denials"]] == [("getpgid", [1])]
    assert (found["others"], found["unknown"]) == (0, 4)
    (note,) = [one for one in found["notes"] if one["code"] == "unknown-processes"]
    assert note["message"].startswith("4 are of other numbers, and a file does not say who started whom")


def test_the_manual_has_every_key_of_the_data(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.scmm.yaml").write_text(POLICY)
    _, out, _ = run(capsys, "--all", "--json", "--file", str(log), "-p", str(tmp_path / "p.scmm.yaml"))
    found = json.loads(out)
    of_object, of_denial = (ROOT / "docs/logs.md").read_text().partition("## As data")[2].split("| key of a denial |")
    assert keys(of_object) == set(found) and found["advice"] and found["notes"]
    followed = set().union(*(as_json(one) for one in decoded((1326, LOGGED), (1423, DENIED))))
    assert keys(of_denial) == {key for one in found["denials"] for key in one} | followed
    assert followed - {"at", "serial"} < {key for one in found["denials"] for key in one}


def keys(text: str) -> set[str]:
    """What stands in the first column of a table."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`(\w+)`", row)}


def test_kinds_that_are_not_listed_are_counted(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = run(capsys, "--all", "--json", "--file", str(log))
    assert json.loads(out)["not_listed"] == 0
    monkeypatch.setattr("scmm_oci.enforcer.logs.summary._MOST_ROWS", 2)
    _, out, _ = run(capsys, "--all", "--json", "--file", str(log))
    found = json.loads(out)
    assert (found["total"], len(found["denials"]), found["not_listed"]) == (5, 2, 3)


def test_actions_that_the_kernel_does_not_log_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "actions_logged"
    monkeypatch.setattr("scmm_oci.cli.logs_shown._ACTIONS_LOGGED", settings)
    monkeypatch.setattr("scmm_oci.cli.logs.Reading", Quiet)
    for words, told in (
        ("kill_process kill_thread trap errno user_notif trace log", ""),
        ("kill_process kill_thread trap errno trace log", "user_notif"),
        ("kill_process trap errno user_notif trace", "kill_thread, log"),
    ):
        settings.write_text(words + "\n")
        _, _, err = run(capsys, "--all")
        assert (f"the kernel is told not to log {told}; sysctl" in err) == bool(told)
        assert ("told not to log" in err) == bool(told)


class Quiet(Reading):
    """This host's logs, of which nothing is read."""

    def __init__(self, asked: Asked, **named: object) -> None:
        super().__init__(asked, file=os.devnull)

    def now(self) -> Iterator[Denial]:
        yield from ()


def test_records_that_audit_has_given_up_are_told(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "given up" not in run(capsys, "--all", "--file", str(log))[2]
    text = "[ 1.5] audit: audit_lost={} audit_rate_limit=0 audit_backlog_limit=64\n"
    log.write_text(log.read_text() + text.format(7) + text.format(19))
    assert "given up 19 records" in run(capsys, "--all", "--file", str(log))[2]


def test_nothing_in_a_record_reaches_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    evil = b"\x1b]0;x\x07\n\xff"
    body = LOGGED.replace('"python3"', evil.hex().upper()).replace('"/usr/bin/python3.11"', evil.hex().upper())
    log.write_text(f"audit: type=1326 {body}\n")
    _, out, _ = run(capsys, "--all", "--file", str(log))
    assert r"\x1b]0;x\x07" in out.replace("\n", "").replace(" ", "") and "\x1b" not in out and "\x07" not in out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "nothing says whose denials"),
        (("--all", "--comm", "x"), "--all: is for all"),
        (("--pid", "0"), "'0' is not a process id"),
        (("--pid", "x"), "'x' is not a process id"),
        (("--all", "--since", "yesterday"), "'yesterday' is no time"),
        (("--all", "--since", "2999-01-01"), "is yet to come"),
        (("--all", "--engine", "docker"), "--engine: says whose container"),
        (("--all", "--file", "x", "--follow"), "--follow: is for this host's logs"),
        (("--container", "x", "--file", "x"), "--container: is found by its processes"),
        (("--all", "--file", "/nonexistent"), "/nonexistent: cannot be read"),
        (("--all", "-p", "/nonexistent"), "there is no such file"),
    ],
)
def test_bad_input(words: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *words)
    assert code == 2 and problem in err and out == ""


def test_since_leaves_out_what_was_before(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 2020-09-13T12:26:40Z
    text = log.read_text().replace("audit(17956479", "audit(16000000").replace("audit(17956478", "audit(15999999")
    log.write_text(text)
    _, out, _ = run(capsys, "--comm", "python3", "--json", "--file", str(log), "--since", "2020-09-13T12:26:40.126Z")
    assert [(one["name"], one["first"]) for one in json.loads(out)["denials"]] == [("sync", "2020-09-13T12:26:40.126Z")]
    _, out, _ = run(capsys, "--comm", "python3", "--json", "--file", str(log), "--since", "2020-09-13T12:26:40.125Z")
    assert {one["name"] for one in json.loads(out)["denials"]} == {"sync", "getpgid"}
    _, out, _ = run(capsys, "--comm", "python3", "--json", "--file", str(log), "--since", "1s")
    assert json.loads(out)["total"] == 0
