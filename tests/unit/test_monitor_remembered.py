"""Remembered decisions: found again, saved at once, whole or not at all; as rules they say no more than was asked.

And `scmm monitor decisions`, which lists, exports and forgets them.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scmm_oci.cli import main as cli
from scmm_oci.enforcer.monitor import remembered as module
from scmm_oci.enforcer.monitor.model import Address, By, Call, Decision, Process, Subject, Target, Verdict
from scmm_oci.enforcer.monitor.remembered import Key, Remembered, default_path
from scmm_oci.enforcer.monitor.remembered_rules import Unsaid, exactly
from scmm_oci.enforcer.monitor.rules.decide import Outcome, Rules, Spent
from scmm_oci.enforcer.monitor.rules.load import parse
from scmm_oci.errors import BadInput, Failure
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

QUOTED = '"O_RDONLY|O_CLOEXEC"'
KEY = Key("web", "/usr/sbin/nginx", "openat", "openat(…, …, O_RDONLY)\n/etc/passwd")
OTHER = Key("web", "/usr/sbin/nginx", "openat", "openat(…, …, O_RDWR)\n/etc/passwd")
ALLOW = Decision(Verdict.ALLOW, By.PERSON, detail="always")
NGINX = Process(7, 7, "/usr/sbin/nginx", "nginx", 33)
NOW = 1_800_000_000


def opened(path: Path, *, make: bool = True) -> Remembered:
    return Remembered(path, now=lambda: NOW + 0.5, make=make)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "monitor" / "decisions.sqlite"


@pytest.fixture
def remembered(place: Path) -> Iterator[Remembered]:
    made = opened(place)
    yield made
    made.close()


def test_what_is_saved_is_found_also_by_the_next(place: Path, remembered: Remembered) -> None:
    assert remembered.find(KEY) is None
    remembered.save(KEY, ALLOW)
    remembered.save(OTHER, Decision(Verdict.DENY, By.PERSON, errno.EACCES))
    assert remembered.find(KEY) == Decision(Verdict.ALLOW, By.REMEMBERED)
    assert remembered.find(KEY._replace(name="db")) is remembered.find(KEY._replace(detail="")) is None
    remembered.close()
    again = opened(place)
    assert again.find(OTHER) == Decision(Verdict.DENY, By.REMEMBERED, errno.EACCES)
    assert [(entry.key, entry.at) for entry in again.list()] == [(KEY, NOW), (OTHER, NOW)]
    again.save(KEY, Decision(Verdict.RETURN, By.PERSON, value=-(1 << 63)))
    found = again.find(KEY)
    assert found is not None and (found.verdict, found.value) == (Verdict.RETURN, -(1 << 63))
    assert len(again.list()) == 2
    again.close()


def test_nobody_else_reads_or_writes_the_file(place: Path, remembered: Remembered) -> None:
    remembered.save(KEY, ALLOW)
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    # Nothing lies beside it that would have to be kept with it.
    assert os.listdir(place.parent) == [place.name]


def test_another_process_is_seen_at_once(place: Path, remembered: Remembered) -> None:
    remembered.save(KEY, ALLOW)
    other = opened(place)
    other.save(OTHER, ALLOW)
    assert remembered.find(OTHER) is not None
    assert other.forget([KEY, KEY, KEY._replace(name="nobody")]) == 1
    assert remembered.find(KEY) is None and remembered.find(OTHER) is not None
    other.close()


def test_what_cannot_be_read_any_more_is_still_found(place: Path, remembered: Remembered) -> None:
    remembered.save(KEY, ALLOW)
    place.write_bytes(b"no database at all, whatever it was before" * 100)
    assert remembered.find(KEY) is not None
    with pytest.raises(BadInput, match="is damaged"):
        opened(place)


def test_a_full_disk_is_told_and_loses_nothing(place: Path, remembered: Remembered) -> None:
    remembered.save(KEY, ALLOW)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk, no file grows: SIGXFSZ is ignored by Python, and write(2) fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (place.stat().st_size, hard))
    try:
        with pytest.raises(Failure, match="cannot be written"):
            for number in range(1000):
                remembered.save(KEY._replace(detail=f"{number}" * 1000), ALLOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    remembered.save(OTHER, ALLOW)
    again = opened(place)
    assert again.find(KEY) is not None and again.find(OTHER) is not None
    assert {entry.key for entry in again.list()} == {entry.key for entry in remembered.list()}
    again.close()


def test_a_file_that_another_process_holds_is_a_failure(place: Path, remembered: Remembered) -> None:
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Failure, match="another process holds it"):
        remembered.save(KEY, ALLOW)
    other.execute("ROLLBACK")
    other.close()
    remembered.save(KEY, ALLOW)
    assert remembered.find(KEY) is not None


def test_a_file_that_another_process_holds_keeps_no_call_waiting(
    place: Path, remembered: Remembered, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered.save(KEY, ALLOW)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM decisions")
    began = time.monotonic()
    for _ in range(100):
        assert remembered.find(KEY) is not None and remembered.find(OTHER) is None
    assert time.monotonic() - began < 10  # 200 × half a second, if each waited
    other.execute("COMMIT")
    other.close()
    assert remembered.find(KEY) is None


def test_a_writer_that_is_killed_leaves_all_or_nothing(place: Path, remembered: Remembered) -> None:
    """The journal of a transaction that never ended is rolled back by who opens the file next."""
    remembered.save(KEY, ALLOW)
    killed = (
        "import os, signal, sqlite3, sys\n"
        "it = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "it.execute('PRAGMA cache_size = 1')\n"  # pages reach the file before the end
        "it.execute('BEGIN IMMEDIATE')\n"
        "it.execute('DELETE FROM decisions')\n"
        "for n in range(2000):\n"
        "    row = (b'%d' % n, b'', b'', b'x' * 500, 'allow', 1, 0, 0, '')\n"
        "    it.execute('INSERT INTO decisions VALUES (?,?,?,?,?,?,?,?,?)', row)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(place)], check=False)
    assert done.returncode == -9 and os.path.exists(f"{place}-journal")
    again = opened(place)
    assert [entry.key for entry in again.list()] == [KEY]
    again.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 2", "is of version 2, and 1 is the one that is read"),
        ("PRAGMA application_id = 7", "is no file of remembered decisions"),
        ("UPDATE decisions SET verdict = 'maybe'", "it holds what is no decision"),
        ("UPDATE decisions SET errno = 5000", "it holds what is no decision"),
        ("UPDATE decisions SET errno = 'x'", "it holds what is no decision"),
        ("UPDATE decisions SET about = '{}'", "it holds what is no decision"),
        ("DROP TABLE decisions", "no such table"),
    ],
)
def test_a_file_that_is_not_understood_is_left_alone(
    place: Path, remembered: Remembered, statement: str, message: str
) -> None:
    remembered.save(KEY, ALLOW)
    remembered.close()
    changed = sqlite3.connect(place, isolation_level=None)
    changed.execute(statement)
    changed.close()
    before = place.read_bytes()
    with pytest.raises((BadInput, Failure), match=message):
        opened(place)
    assert place.read_bytes() == before


def test_another_programs_database_and_what_is_none_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    other = sqlite3.connect(foreign)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    before = foreign.read_bytes()
    with pytest.raises(BadInput, match="is no file of remembered decisions"):
        opened(foreign)
    assert foreign.read_bytes() == before
    text = tmp_path / "text"
    text.write_text("nothing of the kind\n" * 100)
    with pytest.raises(BadInput, match="is damaged, or no file of decisions"):
        opened(text)
    (tmp_path / "empty").touch(0o600)
    opened(tmp_path / "empty").close()
    with pytest.raises(Failure, match="is not there"):
        opened(tmp_path / "none", make=False)
    assert not (tmp_path / "none").exists()


def test_links_and_files_that_others_can_write_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "decisions.sqlite"
    opened(path).close()
    (tmp_path / "link").symlink_to(path.name)
    with pytest.raises(BadInput, match="is a symbolic link"):
        opened(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="is no regular file"):
        opened(tmp_path / "pipe")
    path.chmod(0o620)
    with pytest.raises(BadInput, match="may be written by others"):
        opened(path)
    path.chmod(0o600)
    opened(path).close()
    real = os.fstat
    with monkeypatch.context() as patched:
        status = path.stat()
        theirs = os.stat_result([*status[:4], 4711, *status[5:]])
        patched.setattr(os, "fstat", lambda fd: theirs if stat.S_ISREG(real(fd).st_mode) else real(fd))
        with pytest.raises(BadInput, match="belongs to another user"):
            opened(path)
    tmp_path.chmod(0o777)
    with pytest.raises(BadInput, match="can be written by others"):
        opened(path)
    tmp_path.chmod(0o700)


def test_there_is_a_bound(place: Path, remembered: Remembered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    remembered.save(KEY, ALLOW)
    remembered.save(OTHER, ALLOW)
    with pytest.raises(Failure, match="there are 2 already"):
        remembered.save(KEY._replace(name="db"), ALLOW)
    remembered.save(KEY, Decision(Verdict.DENY, By.PERSON))  # in the place of the one before
    assert len(remembered.list()) == 2
    with pytest.raises(Failure, match="is too long"):
        remembered.save(KEY._replace(detail="x" * 70_000), ALLOW)


def test_texts_are_kept_whatever_they_hold(place: Path, remembered: Remembered) -> None:
    odd = Key("w\x1b\0é", "/a\udcff", "\n", "\ud800'; DROP TABLE decisions; --")
    subject = Subject(Target("x", "w", 1, ""), read("/a\udcff"), NGINX, ("/a\udcff\u202e",))
    remembered.save(odd, ALLOW, subject=subject)
    again = opened(place)
    assert [entry.key for entry in again.list()] == [odd]
    about = again.list()[0].about
    assert about is not None and about.paths == ("/a\udcff\u202e",)
    again.close()


def test_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_path() == "/var/lib/scmm/monitor/decisions.sqlite"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_path() == "/state/scmm/monitor/decisions.sqlite"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/users/w")
    assert default_path() == "/users/w/.local/state/scmm/monitor/decisions.sqlite"


# As rules


def call(name: str, *args: int, arch: Arch = Arch.X86_64) -> Call:
    return Call(arch, 0xC000003E, syscalls.numbers(arch)[name], name, (*args, 0, 0, 0, 0, 0, 0)[:6])  # type: ignore[arg-type]


def read(_path: str = "", flags: int = 0o2000000) -> Call:
    return call("openat", 0xFFFF_FFFF_FFFF_FF9C, 0x7FFD_0000_0000, flags, 0o17777)


def subject(what: Call, *paths: str, address: Address | None = None, name: str = "web") -> Subject:
    return Subject(Target("id", name, 7, ""), what, NGINX, paths, address)


def exported(remembered: Remembered, *subjects: Subject, decision: Decision = ALLOW) -> str:
    for number, one in enumerate(subjects):
        key = Key(one.target.name, "/usr/sbin/nginx", one.call.name or "", str(number))
        remembered.save(key, decision, subject=one)
    return remembered.export(arch=Arch.X86_64).decode()


def test_rules_say_what_was_asked(remembered: Remembered) -> None:
    text = exported(
        remembered,
        subject(read(), "/etc/pass*wd"),
        subject(call("connect", 3, 4, 16), address=Address("inet", "10.0.0.1", 5432, b"")),
        subject(call("connect", 3, 4, 16), address=Address("unix", "@app", None, b"")),
        subject(call("setsockopt", 3, 1, 15, 0x7FFD, 4)),
        decision=Decision(Verdict.DENY, By.PERSON, errno.EACCES),
    )
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("- ")]
    head = "- {container: web, executable: /usr/sbin/nginx, syscalls: "
    tail = ", decision: deny, errno: EACCES}"
    one = '{arg: "%d", type: integer, op: masked_eq, value: %s, mask: %d}'
    assert lines == [
        f"{head}[connect], address: {{networks: [10.0.0.1/32], ports: [5432]}}{tail}",
        f"{head}[connect], address: {{family: unix, names: [app]}}{tail}",
        f'{head}[openat], args: [{one % (2, QUOTED, 0xFFFFFFFF)}], path: "/etc/pass\\\\*w[d]"{tail}',
        f"{head}[setsockopt], args: [{one % (1, '1', 0xFFFFFFFF)}, {one % (2, '15', 0xFFFFFFFF)}, "
        f"{one % (4, '4', 0xFFFFFFFF)}]{tail}",
    ]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (subject(call("rename"), "/a", "/b"), "it has two paths"),
        (subject(call("mkdir"), "/"), "the root directory is no path without what is beneath"),
        (subject(call("openat2"), "/a"), "some of what was asked about is in memory"),
        (subject(call("symlink"), "/a"), "some of what was asked about is in memory"),
        (subject(call("getpid", arch=Arch.X86)), "it is a call of x86"),
        (subject(call("getpid"), name="web*"), "the name has a wildcard"),
        (subject(call("bind"), address=Address("unix", "@a?", None, b"")), "has a wildcard in its name"),
        (subject(call("bind"), address=Address("unix", None, None, b"")), "its address is not known"),
        (subject(call("bind"), address=Address("netlink", "x", None, b"")), "more than rules can say"),
        (subject(Call(None, 1, 2, None, (0,) * 6)), "what was asked about was not kept"),  # type: ignore[arg-type]
    ],
)
def test_what_rules_cannot_say_is_a_comment(remembered: Remembered, what: Subject, why: str) -> None:
    text = exported(remembered, what)
    assert parse(text.encode()).rules == () and why in text


def test_answers_without_what_was_asked_are_comments(remembered: Remembered) -> None:
    remembered.save(KEY._replace(name="a\n- {decision: allow}"), ALLOW)
    remembered.save(KEY._replace(executable=""), ALLOW, subject=subject(call("getpid")))
    text = remembered.export(arch=Arch.X86_64)
    assert parse(text).rules == ()
    assert b"was not kept" in text and b"nobody knows which program" in text


NAMES = st.text(st.sampled_from("abé*?[]\\$ .x\udcff"), min_size=1, max_size=4).filter(lambda n: n not in (".", ".."))
SOME = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))


@settings(max_examples=200, deadline=None)
@given(SOME, SOME)
def test_a_pattern_for_one_path_alone(path: str, other: str) -> None:
    try:
        path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        pattern = Pattern.parse(exactly(path))
    except Unsaid:
        assert path == "/"
        return
    assert pattern.grants(path) and not pattern.grants(f"{path}/x")
    assert pattern.grants(other) == (os.fsencode(path) == os.fsencode(other))


CALLS = st.sampled_from(
    [
        (read(), ("/etc/passwd",)),
        (read(flags=2), ("/etc/passwd",)),
        (read(flags=0o102), ("/etc/passwd",)),
        (call("openat", 0, 0, 0o102, 0o600), ("/etc/passwd",)),
        (read(), ("/etc/passwd/x",)),
        (read(), ("/etc",)),
        (call("mkdir", 1, 0o755), ("/srv/a",)),
        (call("mkdir", 1, 0o700), ("/srv/a",)),
        (call("setuid", 0), ()),
        (call("setuid", 33), ()),
        (call("kill", 1, 9), ()),
        (call("socket", 2, 1, 0), ()),
        (call("socket", 2, 0o2000001, 0), ()),
        (call("mmap", 5, 4096, 3, 0x22, 7, 0), ()),
        (call("mmap", 5, 4096, 7, 0x22, 7, 0), ()),
        (call("mmap", 5, 4096, 3, 0x22, 7, 1 << 33), ()),
        (call("munmap", 5, 4096), ()),
        (call("munmap", 6, 8192), ()),
        (call("truncate", 5, 4096), ("/srv/a",)),
        (call("truncate", 5, 1 << 33 | 4096), ("/srv/a",)),
        (call("setpriority", 0, 1, 5), ()),
        (call("fallocate", 3, 0, 1 << 33, 4), ()),
        (call("fallocate", 4, 0, 0, 4), ()),
        (call("getpid"), ()),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CALLS, min_size=1, max_size=3, unique=True), CALLS)
def test_exported_rules_allow_what_was_asked_and_nothing_else(
    tmp_path: Path, asked: list[tuple[Call, tuple[str, ...]]], other: tuple[Call, tuple[str, ...]]
) -> None:
    place = tmp_path / "decisions.sqlite"
    place.unlink(missing_ok=True)
    remembered = opened(place)
    text = exported(remembered, *(subject(what, *paths) for what, paths in asked))
    remembered.close()
    rules = Rules(parse(text.encode()))
    for what, paths in asked:
        assert rules.decide(subject(what, *paths), Spent()).outcome is Outcome.ALLOW
    outcome = rules.decide(subject(other[0], *other[1]), Spent()).outcome
    assert (outcome is Outcome.ALLOW) == (_counts(other) in [_counts(one) for one in asked])


def _counts(one: tuple[Call, tuple[str, ...]]) -> tuple[Any, ...]:
    """What of these calls a person was told of, by hand."""
    what, paths = one
    places = {
        "mkdir": (1,),
        "setuid": (0,),
        "kill": (0, 1),
        "socket": (0, 1, 2),
        "mmap": (2, 3),
        "getpid": (),
        "munmap": (),
        "setpriority": (0, 1, 2),
    }
    places |= {"fallocate": (1, 2, 3), "truncate": (1,)}
    if what.name == "openat":
        places["openat"] = (2, 3) if what.args[2] & 0o100 else (2,)
    return (what.name, *(what.args[index] for index in places[str(what.name)]), paths)


# The command line


def run(*argv: str) -> tuple[int, str, str]:
    from scmm_oci.cli.monitor_decisions import decisions

    done = CliRunner().invoke(decisions, argv, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_list(place: Path, remembered: Remembered) -> None:
    remembered.save(KEY, Decision(Verdict.DENY, By.PERSON, errno.ENOENT))
    remembered.save(Key("db", "", "getpid", "x\x1b[31m"), ALLOW)
    _, out, _ = run("list", "--decisions", str(place))
    assert "deny ENOENT" in out and KEY.id in out and "/etc/passwd" in out and "2027-01-15T08:00:00Z" in out
    assert "\x1b" not in out and "\\x1b[31m" in out
    _, out, _ = run("list", "--decisions", str(place), "--json", "--container", "db")
    assert json.loads(out) == [
        {
            "id": Key("db", "", "getpid", "x\x1b[31m").id,
            "container": "db",
            "executable": None,
            "call": "getpid",
            "detail": "x\x1b[31m",
            "decision": "allow",
            "errno": None,
            "value": None,
            "at": "2027-01-15T08:00:00Z",
        }
    ]
    assert run("list", "--decisions", str(place), "--call", "read")[1:] == ("", "nothing of that is remembered\n")


def test_export_is_what_the_monitor_reads(tmp_path: Path, place: Path, remembered: Remembered) -> None:
    remembered.save(KEY, ALLOW, subject=subject(read(), "/etc/passwd"))
    remembered.save(KEY._replace(name="db"), ALLOW, subject=subject(read(), "/etc/passwd"))
    out = tmp_path / "monitor.yaml"
    run("export", "--decisions", str(place), "-o", str(out), "--container", "web")
    assert [rule.container for rule in parse(out.read_bytes()).rules] == ["web"]
    assert out.stat().st_mode & 0o077 == 0
    assert run("export", "--decisions", str(place), "--container", "web")[1] == out.read_text()
    with pytest.raises(Failure, match="nothing was written"):
        run("export", "--decisions", str(place), "-o", str(tmp_path / "none"), "--container", "nobody")
    assert not (tmp_path / "none").exists()
    with pytest.raises(BadInput, match="is an input too"):
        run("export", "--decisions", str(place), "-o", str(place))


def test_forget(place: Path, remembered: Remembered) -> None:
    keys = [KEY._replace(name=name) for name in ("a", "b", "c")]
    for key in keys:
        remembered.save(key, ALLOW)
    with pytest.raises(BadInput, match=r"'0000' is not the id of a decision .`scmm-monitor decisions list` tells them"):
        run("forget", "--decisions", str(place), keys[0].id, "0000")
    with pytest.raises(BadInput, match="nothing to forget"):
        run("forget", "--decisions", str(place))
    with pytest.raises(BadInput, match="not clear"):
        run("forget", "--decisions", str(place), "--all", keys[0].id)
    assert len(remembered.list()) == 3
    assert run("forget", "--decisions", str(place), keys[0].id)[2] == "forgot 1 decision\n"
    assert run("forget", "--decisions", str(place), "--container", "b")[2] == "forgot 1 decision\n"
    assert [entry.key for entry in remembered.list()] == [keys[2]]
    assert run("forget", "--decisions", str(place), "--all")[2] == "forgot 1 decision\n"
    assert remembered.list() == () and remembered.find(keys[2]) is None


def test_before_anything_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scmm_oci.cli.monitor_decisions.default_path", lambda: str(tmp_path / "none"))
    assert run("list")[2] == "nothing is remembered\n"
    assert run("list", "--json")[1] == "[]\n"
    assert run("forget", "--all")[2] == "forgot 0 decisions\n"
    with pytest.raises(Failure, match="is not there"):
        run("list", "--decisions", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_it_is_a_form_of_scmm_monitor(place: Path, remembered: Remembered, capsys: pytest.CaptureFixture[str]) -> None:
    remembered.save(KEY, ALLOW)
    assert cli.monitor(["decisions", "list", "--decisions", str(place)]) == 0
    assert KEY.id in capsys.readouterr().out
    assert cli.monitor(["decisions", "forget", "--decisions", str(place), "nothing"]) == 2
    assert "is not the id of a decision" in capsys.readouterr().err
