"""What the monitor learns becomes a policy that allows just that, and that merging adds and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from decided import AT, DENIED, LEARNT, NGINX, WEB, decided
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.cli.main import main
from scmm_oci.enforcer.monitor import learnt_file as learnt_file_module
from scmm_oci.enforcer.monitor.learning import (
    MOST_NAMES,
    MOST_PATHS,
    MOST_PROGRAMS,
    MOST_REFUSED,
    MOST_UNNAMED,
    MOST_VALUES,
    Learning,
    places_of,
)
from scmm_oci.enforcer.monitor.learnt import Delta, delta, text
from scmm_oci.enforcer.monitor.learnt_file import LearntFile
from scmm_oci.enforcer.monitor.model import By, Decision, Process, Target, Verdict
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.errors import BadInput, Failure
from scmm_oci.policy import document
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.lint import lint
from scmm_oci.policy.lint.rules import Severity
from scmm_oci.policy.merge import union
from scmm_oci.policy.model import (
    Action,
    LandlockScope,
    Network,
    NetworkRule,
    PathRule,
    Policy,
    PortRange,
    Protocol,
    Settings,
    SyscallRule,
)
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

INET, INET6, UNIX = 2, 10, 1
STREAM, DGRAM = 1, 2
NEWNS, NEWUSER, FORK = 0x20000, 0x10000000, 0x1200011


def learning(*given: Decided) -> Learning:
    """A Learning that was given these."""
    made = Learning(now=lambda: AT - 60)
    for one in given:
        made.add(one)
    return made


def policy(*given: Decided) -> Policy:
    """The policy, as it comes out of its text."""
    return document.parse(text(delta(learning(*given), arch=Arch.X86_64)))


def codes(*given: Decided) -> list[str]:
    return [one.code for one in delta(learning(*given), arch=Arch.X86_64).findings]


def passes(of: Policy, name: str, *args: int, arch: Arch = Arch.X86_64) -> bool:
    return Answers(of, arch).of(name, dict(enumerate(args))).action is Action.ALLOW


def test_a_socket_passes_with_the_families_that_were_seen_and_no_others() -> None:
    made = policy(decided("socket", INET, STREAM, 0), decided("socket", UNIX, STREAM, 0))
    assert passes(made, "socket", INET, STREAM, 0) and passes(made, "socket", UNIX, STREAM, 0)
    assert not passes(made, "socket", INET6, STREAM, 0)
    assert not passes(made, "socket", INET, DGRAM, 0)
    assert not passes(made, "bind", 3, 0, 0)


def test_a_clone_passes_without_namespaces() -> None:
    made = policy(decided("clone", FORK, 0))
    assert passes(made, "clone", FORK, 0x7F0000000000)
    assert not passes(made, "clone", FORK | NEWUSER, 0)
    assert passes(policy(decided("clone", FORK | NEWNS, 0)), "clone", FORK | NEWNS, 0)


def test_arguments_that_do_not_matter_are_left_open() -> None:
    made = policy(decided("read", 3, 0x1000, 64), decided("openat", 2**64 - 100, 1, 0))
    assert passes(made, "read", 7, 0x2000, 1) and passes(made, "openat", 4, 2, 0x241)


def test_only_what_learning_allowed_is_learnt() -> None:
    others = [Decision(verdict, by) for verdict in Verdict for by in By if (verdict, by) != ("allow", "learning")]
    assert policy(*(decided("getpid", decision=one) for one in others)).syscalls == ()
    assert [rule.name for rule in policy(decided("getpid")).syscalls] == ["getpid"]


def test_what_was_also_refused_is_told_apart_by_any_argument_that_can() -> None:
    seen = decided("ioctl", 1, 0x5413)
    assert passes(policy(seen), "ioctl", 1, 0x5412)  # control: by itself it would be open
    made = policy(seen, decided("ioctl", 1, 0x5412, decision=DENIED))
    assert passes(made, "ioctl", 1, 0x5413) and not passes(made, "ioctl", 1, 0x5412)


@pytest.mark.parametrize("verdict", [Verdict.DENY, Verdict.KILL, Verdict.RETURN])
@pytest.mark.parametrize("by", [By.RULE, By.PERSON, By.PROGRAM, By.REMEMBERED, By.DEFAULT])
def test_what_no_filter_tells_apart_from_what_was_refused_is_left_out(verdict: Verdict, by: By) -> None:
    given = [decided("unlink", 1), decided("getpid")]
    assert passes(policy(*given), "unlink", 1)
    given.append(decided("unlink", 1, decision=Decision(verdict, by)))
    assert not passes(policy(*given), "unlink", 1)
    assert passes(policy(*given), "getpid")
    assert codes(*given) == ["let-pass-and-refused"]


@pytest.mark.parametrize("by", [By.TIMEOUT, By.NOBODY, By.OVERLOAD, By.FAILURE])
def test_what_nobody_decided_takes_nothing_away(by: By) -> None:
    made = policy(decided("unlink", 1), decided("unlink", 1, decision=Decision(Verdict.DENY, by)))
    assert passes(made, "unlink", 1)


def test_a_call_that_was_refused_in_too_many_ways_is_left_out() -> None:
    seen = decided("ioctl", 1, 0x5413)
    few = [decided("ioctl", 1, 0x6000 + number, decision=DENIED) for number in range(MOST_REFUSED)]
    assert passes(policy(seen, *few), "ioctl", 1, 0x5413)
    more = decided("ioctl", 1, 0x7000, decision=DENIED)
    assert not passes(policy(seen, *few, more), "ioctl", 1, 0x5413)


def test_calls_of_abis_beside_have_the_names_that_policies_have() -> None:
    given = [decided("getpid"), decided("_llseek", 3, arch=Arch.X86), decided("getuid", arch=Arch.X32)]
    made = policy(*given)
    assert made.settings.architectures == (Arch.X86_64, Arch.X86, Arch.X32)
    assert [rule.name for rule in made.syscalls] == ["_llseek", "getpid", "getuid"]
    assert passes(made, "_llseek", 3, arch=Arch.X86)
    assert "many-architectures" in codes(*given)
    assert policy(given[0]).settings.architectures == (Arch.X86_64,)


def test_what_no_policy_can_hold_is_told() -> None:
    given = [decided("getpid"), decided(9999), decided(9999), decided(9998, arch=Arch.X86)]
    found = delta(learning(*given, decided("getpid", arch=Arch.AARCH64)), arch=Arch.X86_64).findings
    assert [one.code for one in found] == ["unnamed-call", "unnamed-call", "foreign-call"]
    assert any("9999 of x86_64" in one.message and "2×" in one.message for one in found)
    assert b"# note: system call 9999 of x86_64" in text(delta(learning(*given), arch=Arch.X86_64))
    assert codes(given[0]) == []


def test_calls_with_flags_in_memory_are_told_with_the_monitor_s_way_out() -> None:
    found = delta(learning(decided("clone3", 0x1000, 88)), arch=Arch.X86_64).findings
    assert [one.code for one in found] == ["unseen-arguments"] and "errno: ENOSYS" in found[0].hint


def test_an_argument_with_too_many_values_is_open_and_told() -> None:
    given = [decided("prctl", 1000 + number) for number in range(MOST_VALUES)]
    assert codes(*given) == [] and not passes(policy(*given), "prctl", 1)
    given.append(decided("prctl", 5000))
    assert codes(*given) == ["open-ended"] and passes(policy(*given), "prctl", 1)


def test_a_call_with_more_constraints_than_a_filter_can_have_is_left_out() -> None:
    few = [decided("socket", number, STREAM, number) for number in range(8)]
    many = [decided("socket", number, number % 16, number) for number in range(MOST_VALUES)]
    assert codes(*few) == [] and passes(policy(*few), "socket", 7, STREAM, 0)
    made = policy(*many, decided("ioctl", 1, 7), decided("ioctl", 1, 8, decision=DENIED))
    assert codes(*many) == ["unheld-arguments"]
    assert not passes(made, "socket", 7, STREAM, 0)
    assert passes(made, "ioctl", 1, 7) and not passes(made, "ioctl", 1, 8)  # it takes nothing else away


def test_where_it_comes_from_is_said() -> None:
    curl = Process(7, 7, "/usr/bin/curl", "curl", 0)
    db = Target("id", "db", 1, "")
    given = [decided("getpid"), decided("getpid", process=curl), decided("getuid", target=db, at=AT + 60)]
    made = policy(*given)
    pid, uid = made.syscalls
    assert pid.origin is not None and (pid.origin.count, pid.origin.programs) == (
        2,
        ("/usr/bin/curl", NGINX.executable),
    )
    assert uid.origin is not None and uid.origin.programs == (NGINX.executable,)
    assert made.metadata.generated_from == "scmm-monitor --learn: db, web"
    assert made.metadata.generated_at == "2023-11-14T22:14:20Z"
    assert b"\n# Made by scmm-monitor --learn" in text(delta(learning(*given), arch=Arch.X86_64))


def test_programs_are_not_named_where_one_is_not_known() -> None:
    origin = policy(decided("getpid"), decided("getpid", process=None)).syscalls[0].origin
    assert origin is not None and (origin.count, origin.programs) == (2, ())


def test_hostile_names_do_not_end_the_comment_or_the_text() -> None:
    nasty = Target("id", "x\n---\nsettings: {default_action: allow}\x1b[2J", 1, "")
    program = Process(1, 1, "/tmp/a\nb: \udcff\x1b", "x", 0)
    why = Decision(Verdict.DENY, By.PROGRAM, detail="no\nsyscalls: []\x1b")
    given = [
        decided("getpid", target=nasty, process=program),
        decided("unlink", process=program),
        decided("unlink", decision=why),
    ]
    data = text(delta(learning(*given), arch=Arch.X86_64))
    made = document.parse(data)
    assert made.settings.default_action is Action.KILL and b"\x1b" not in data
    assert [rule.name for rule in made.syscalls] == ["getpid"]


BASE = Policy(
    settings=Settings(default_action=Action.NOTIFY),
    syscalls=(
        SyscallRule("getpid", Action.DENY, errno="EACCES"),
        SyscallRule("read", Action.ALLOW),
        SyscallRule("socket", Action.NOTIFY),
        SyscallRule("reboot", Action.KILL),
    ),
    capabilities=("CAP_CHOWN",),
    filesystem=(PathRule("/etc/web", ("read_file",)),),
    network=Network(outbound=(NetworkRule(Protocol.TCP, ports=(PortRange(80, 80),)),)),
    scopes=(LandlockScope.SIGNAL,),
)


@pytest.mark.parametrize("default", [Action.NOTIFY, Action.DENY, Action.TRAP, Action.KILL, Action.LOG])
def test_merging_adds_the_calls_and_changes_nothing_else(default: Action) -> None:
    base = Policy(**{**vars(BASE), "settings": Settings(default_action=default, default_errno="EPERM")})
    made = policy(decided("socket", INET, STREAM, 0), decided("getpid"), decided("getuid"))
    merged = union([base, made]).policy
    assert passes(merged, "getuid") and passes(merged, "getpid") and passes(merged, "socket", INET, STREAM, 0)
    before, after = Answers(base, Arch.X86_64), Answers(merged, Arch.X86_64)
    for name, args in (("socket", (INET6, STREAM, 0)), ("reboot", ()), ("read", (3,)), ("mount", ())):
        values = dict(enumerate(args))
        assert before.of(name, values) == after.of(name, values), name
    assert merged.settings == base.settings
    assert (merged.filesystem, merged.network) == (base.filesystem, base.network)
    assert (merged.capabilities, merged.scopes) == (base.capabilities, base.scopes)


def test_the_merge_command_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, learnt, new = (tmp_path / name for name in ("base.scmm.yaml", "delta.scmm.yaml", "new.scmm.yaml"))
    policy_of_base = Policy(**{**vars(BASE), "settings": Settings()})
    base.write_bytes(document.dump(policy_of_base))
    learnt.write_bytes(text(delta(learning(decided("getuid")), arch=Arch.X86_64)))
    assert main(["merge", str(base), str(learnt), "-o", str(new)]) == 0
    assert "note:" not in capsys.readouterr().err
    assert passes(document.read(new), "getuid")
    assert document.read(new).filesystem == BASE.filesystem


def test_lint_finds_nothing_against_it() -> None:
    found = lint(policy(decided("socket", INET, STREAM, 0), decided("openat", 1, 2, 3), decided("clone", FORK)))
    assert [one.id for one in found if one.severity is not Severity.NOTE] == []


CALLS = st.sampled_from(["socket", "clone", "ioctl", "openat", "getpid", "setsockopt", "mmap", "fcntl"])
WAYS = st.tuples(CALLS, st.lists(st.sampled_from([0, 1, 2, 3, 5, 10, 0x11, 0x5412, NEWNS, 2**32 + 2]), max_size=4))


@given(st.lists(WAYS, max_size=8), st.lists(WAYS, max_size=4))
def test_what_was_let_pass_passes_and_what_was_refused_does_not(
    learnt: list[tuple[str, list[int]]], refused: list[tuple[str, list[int]]]
) -> None:
    given = [decided(name, *args) for name, args in learnt]
    against = [decided(name, *args, decision=DENIED) for name, args in refused]
    made = policy(*given, *against)
    for name, args in refused:
        assert not passes(made, name, *args)
    spared = {name for name, _ in learnt} - {name for name, _ in refused}
    for name, args in learnt:
        assert name not in spared or passes(made, name, *args)


@given(st.permutations([("socket", INET), ("socket", UNIX), ("getpid", 0), ("clone", FORK)]))
def test_the_order_does_not_matter(order: list[tuple[str, int]]) -> None:
    made = text(delta(learning(*(decided(name, arg) for name, arg in order)), arch=Arch.X86_64))
    straight = [("clone", FORK), ("getpid", 0), ("socket", INET), ("socket", UNIX)]
    assert made == text(delta(learning(*(decided(name, arg) for name, arg in straight)), arch=Arch.X86_64))


def test_the_version_changes_with_what_is_new_only() -> None:
    made = learning(decided("socket", INET))
    for new in (
        decided("socket", UNIX),
        decided("getpid"),
        decided(9999),
        decided("getpid", process=Process(1, 1, "/bin/other", "x", 0)),
        decided("getpid", target=Target("x", "other", 1, "")),
        decided("ioctl", decision=DENIED),
    ):
        before = made.version
        made.add(new)
        assert made.version > before
        before = made.version
        made.add(new)
        assert made.version == before


def flood(made: Learning, count: int) -> None:
    """Calls that are new in every way, as a program makes them that wants the monitor's memory."""
    for number in range(count):
        process = Process(number, number, f"/tmp/{number}", "x", 0)
        target = Target(str(number), f"{number}-" + "x" * 2000, 1, "")
        made.add(decided("prctl", number, process=process, target=target))
        made.add(decided("setsockopt", 1, number, number, process=process))
        made.add(decided(10_000 + number, process=process))
        made.add(decided("ioctl", 1, number, decision=DENIED))


def test_memory_is_bounded_whatever_targets_do() -> None:
    count = 250_000 if os.environ.get("SCMM_SOAK") == "1" else 2_000
    made = learning()
    flood(made, 500)
    tracemalloc.start()
    flood(made, count)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 200_000
    prctl = made.calls[Arch.X86_64, 157]
    assert len(prctl.programs) <= MOST_PROGRAMS + 1 and len(prctl.places[0].values) == MOST_VALUES
    assert (len(made.names), made.names_more) == (MOST_NAMES, True)
    assert len(made.unnamed) == MOST_UNNAMED and made.unnamed_more == count + 500 - 2 * MOST_UNNAMED
    found = [one.code for one in delta(made, arch=Arch.X86_64).findings]
    assert {"unnamed-call", "open-ended"} <= set(found)
    assert len(text(delta(made, arch=Arch.X86_64))) < 100_000


def test_long_paths_of_programs_are_kept_once_and_so_many() -> None:
    made, names_ = learning(), sorted(syscalls.numbers("x86_64"))[:100]
    tracemalloc.start()
    for number in range(2 * MOST_PATHS):
        name = names_[number % 100]
        made.add(decided(name, process=Process(1, 1, f"/tmp/{number}/" + "x" * 4000, "x", 0)))
    for name in names_:
        for other in range(MOST_PROGRAMS):
            made.add(decided(name, process=Process(1, 1, f"/tmp/{other}/" + "x" * 4000, "x", 0)))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 4200 * MOST_PATHS + (2 << 20)


def test_places_are_those_that_a_filter_sees() -> None:
    assert places_of(Arch.X86_64, "clone3") == ()
    assert [one.indexes for one in places_of(Arch.X86_64, "socket")] == [(0,), (1,), (2,)]


# The file.


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def learnt_file(path: Path, of: Learning, clock: Clock, tell: Callable[[str], None]) -> LearntFile:
    return LearntFile(path, of, arch=Arch.X86_64, now=clock, tell=tell)


def names(path: Path) -> list[str]:
    return [rule.name for rule in document.read(path).syscalls]


def test_the_file_follows_what_is_new_at_most_each_second(tmp_path: Path) -> None:
    path, clock, told, made = tmp_path / "delta.scmm.yaml", Clock(), list[str](), learning()
    file = learnt_file(path, made, clock, told.append)
    asyncio.run(file.tend())
    assert names(path) == []
    made.add(decided("getpid"))
    asyncio.run(file.tend())
    assert names(path) == []
    clock.time += 1
    asyncio.run(file.tend())
    assert names(path) == ["getpid"]
    inode = path.stat().st_ino
    clock.time += 60
    made.add(decided("getpid"))
    asyncio.run(file.tend())
    assert path.stat().st_ino == inode  # nothing is new
    assert file.finish() == ()
    origin = document.read(path).syscalls[0].origin
    assert origin is not None and origin.count == 2 and told == []


def test_a_monitor_that_comes_after_adds_to_what_is_there(tmp_path: Path) -> None:
    path, clock = tmp_path / "delta.scmm.yaml", Clock()
    first = learnt_file(path, learning(decided("getpid"), decided("socket", INET)), clock, pytest.fail)
    first.finish()
    second = learnt_file(path, learning(decided("getuid"), decided("socket", UNIX)), clock, pytest.fail)
    second.finish()
    assert set(names(path)) == {"getpid", "getuid", "socket"}
    made = document.read(path)
    assert passes(made, "socket", INET) and passes(made, "socket", UNIX) and not passes(made, "socket", INET6)
    third = learnt_file(path, learning(decided("getpid", decision=DENIED)), clock, pytest.fail)
    assert [one.code for one in third.finish()] == ["let-pass-and-refused"]
    assert set(names(path)) == {"getuid", "socket"}


def test_a_file_of_somebody_else_s_is_not_overwritten(tmp_path: Path) -> None:
    clock = Clock()
    mine = tmp_path / "mine.scmm.yaml"
    base = Policy(**{**vars(BASE), "settings": Settings()})
    mine.write_bytes(document.dump(base))
    merged = tmp_path / "merged.scmm.yaml"
    merged.write_bytes(document.dump(union([base, policy(decided("getuid"))]).policy))
    other = tmp_path / "other.scmm.yaml"
    other.write_bytes(text(delta(learning(decided("getpid", arch=Arch.AARCH64)), arch=Arch.AARCH64)))
    nothing = tmp_path / "nothing.scmm.yaml"
    nothing.write_text("what I wrote")
    for path in (mine, merged, other, nothing):
        before = path.read_bytes()
        with pytest.raises(BadInput):
            learnt_file(path, learning(), clock, pytest.fail)
        assert path.read_bytes() == before


def test_two_monitors_that_learn_into_one_file_lose_nothing(tmp_path: Path) -> None:
    path, clock = tmp_path / "delta.scmm.yaml", Clock()
    one_has, other_has = learning(decided("getpid")), learning(decided("getuid"))
    one, other = (learnt_file(path, each, clock, pytest.fail) for each in (one_has, other_has))
    asyncio.run(one.tend())
    asyncio.run(other.tend())
    assert set(names(path)) == {"getpid", "getuid"}
    one_has.add(decided("getppid"))
    clock.time += 1
    asyncio.run(one.tend())
    other.finish()
    assert set(names(path)) == {"getpid", "getppid", "getuid"}
    # Who takes it away wants it written anew.
    path.unlink()
    one.finish()
    assert set(names(path)) == {"getpid", "getppid", "getuid"}


def test_what_somebody_puts_there_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path, clock, told = tmp_path / "delta.scmm.yaml", Clock(), list[str]()
    made = learning(decided("getpid"))
    file = learnt_file(path, made, clock, told.append)
    asyncio.run(file.tend())
    ours = path.read_bytes()
    path.write_text("what I wrote")
    made.add(decided("getuid"))
    for _ in range(3):
        clock.time += 10
        asyncio.run(file.tend())
    assert len(told) == 1 and str(path) in told[0] and "kept in memory" in told[0]
    with pytest.raises(BadInput):
        file.finish()
    assert path.read_text() == "what I wrote"
    path.write_bytes(ours)
    file.finish()
    assert set(names(path)) == {"getpid", "getuid"}


def test_a_policy_that_takes_long_is_made_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, clock = tmp_path / "delta.scmm.yaml", Clock()
    made = learning(decided("getpid"))
    file = learnt_file(path, made, clock, pytest.fail)

    def slow(given: Delta) -> bytes:
        clock.time += 3
        return text(given)

    monkeypatch.setattr(learnt_file_module, "text", slow)
    asyncio.run(file.tend())
    for name, seconds, written in (("getuid", 59.0, False), ("getgid", 1.0, True)):
        made.add(decided(name))
        clock.time += seconds
        asyncio.run(file.tend())
        assert (name in names(path)) == written


def test_where_nothing_can_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(Failure):
        learnt_file(tmp_path / "nowhere" / "delta.scmm.yaml", learning(), Clock(), pytest.fail)


def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(tmp_path: Path) -> None:
    directory, clock, told = tmp_path / "out", Clock(), list[str]()
    directory.mkdir()
    path = directory / "delta.scmm.yaml"
    made = learning(decided("getpid"))
    file = learnt_file(path, made, clock, told.append)
    path.mkdir()
    for _ in range(3):
        asyncio.run(file.tend())
        clock.time += 10
    assert len(told) == 1 and "kept in memory" in told[0]
    with pytest.raises(Failure):
        file.finish()
    path.rmdir()
    asyncio.run(file.tend())
    assert names(path) == ["getpid"] and len(told) == 1


def test_without_a_thread_the_file_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path, clock, told = tmp_path / "delta.scmm.yaml", Clock(), list[str]()
    file = learnt_file(path, learning(decided("getpid")), clock, told.append)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        for _ in range(2):
            asyncio.run(file.tend())
            clock.time += 10
        assert len(told) == 1 and "can't start new thread; what is learnt is kept" in told[0] and not path.exists()
    asyncio.run(file.tend())
    assert names(path) == ["getpid"]


def test_adding_what_is_known_is_quick() -> None:
    made = learning(decided("socket", INET))
    again, version = decided("socket", INET), made.version
    for _ in itertools.repeat(None, 1000):
        made.add(again)
    assert made.version == version and made.calls[Arch.X86_64, 41].count == 1001
    assert WEB.name in made.names and again.decision is LEARNT
