"""The monitor's log: whole lines of JSON, whatever targets call themselves and whatever becomes of the disk."""

from __future__ import annotations

import json
import os
import resource
import stat
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from decided import ALLOWED, AT, DENIED, NGINX, WEB, call, decided
from hypothesis import given
from hypothesis import strategies as st

from rig.process import wait_until
from scmm_oci.enforcer.monitor import calls, journal
from scmm_oci.enforcer.monitor.journal import Journal
from scmm_oci.enforcer.monitor.journal_lines import Lines
from scmm_oci.enforcer.monitor.model import Address, By, Decision, Memory, Process, Target, Verdict
from scmm_oci.errors import BadInput
from scmm_oci.tables.arch import Arch


def opened(path: Path, tell: Callable[[str], None] = pytest.fail) -> Journal:
    return Journal(path, words=calls.words, now=lambda: AT, tell=tell)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_a_line_has_all_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    log.write(
        decided(
            "openat",
            2**64 - 100,
            0x7FFF0000,
            0x80000,
            decision=DENIED,
            memory=Memory((b"/etc/shadow",)),
            paths=("/etc/shadow",),
            waited_s=0.0125,
            result=1,
        )
    )
    log.close()
    assert lines(path) == [
        {
            "time": "2023-11-14T22:13:20.250000Z",
            "target": {"id": "0123abcd", "name": "web", "pid": 100},
            "arch": "x86_64",
            "nr": 257,
            "call": "openat",
            "args": ["0xffffffffffffff9c", "0x7fff0000", "0x80000", "0x0", "0x0", "0x0"],
            "words": 'openat(AT_FDCWD, "/etc/shadow", O_RDONLY|O_CLOEXEC)',
            "verdict": "deny",
            "by": "rule",
            "errno": "EPERM",
            "detail": "rules[3]",
            "waited": 0.0125,
            "process": {"pid": 100, "tid": 101, "executable": "/usr/sbin/nginx", "comm": "nginx", "uid": 33},
            "paths": ["/etc/shadow"],
            "result": "EPERM",
        }
    ]


def test_what_is_not_known_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    log.write(decided("getppid", decision=ALLOWED, process=None))
    log.close()
    (line,) = lines(path)
    assert line["words"] == "getppid()" and line["detail"] == "rules[1]"
    assert not {"process", "paths", "address", "result", "on_behalf", "errno", "value", "path"} & line.keys()


def test_decisions_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    log.write(decided("getgid", decision=Decision(Verdict.RETURN, By.PROGRAM, value=-7)))
    log.write(decided("mkdir", decision=Decision(Verdict.ALLOW, By.PROGRAM, path="/x"), on_behalf=True, result=0))
    log.write(decided("connect", address=Address("inet", "10.0.0.1", 80, b""), process=NGINX))
    log.write(decided("connect", address=Address("netlink", None, None, b""), result=4095))
    log.write(decided(9999, words="made elsewhere"))
    log.write(decided("getpid", arch=Arch.X32))
    log.write(decided("getpid", arch=Arch.X86_64))
    log.close()
    value, behalf, inet, netlink, unnamed, x32, own = lines(path)
    assert (value["verdict"], value["value"], value["by"]) == ("return", -7, "program")
    assert (behalf["path"], behalf["on_behalf"], behalf["result"]) == ("/x", True, "ok")
    assert inet["address"] == {"family": "inet", "text": "10.0.0.1", "port": 80}
    assert netlink["address"] == {"family": "netlink", "text": None, "port": None} and netlink["result"] == "4095"
    assert (unnamed["call"], unnamed["nr"], unnamed["words"]) == (None, 9999, "made elsewhere")
    assert (x32["arch"], x32["nr"], own["arch"], own["nr"]) == ("x32", 39, "x86_64", 39)


@given(st.text(), st.text(), st.binary(max_size=40), st.integers(0, 2**64 - 1))
def test_a_line_is_one_line_of_ascii_that_says_the_same(name: str, detail: str, path: bytes, arg: int) -> None:
    target, process = Target(name, name, 1, ""), Process(1, 2, os.fsdecode(path), name, 0)
    decision = Decision(Verdict.DENY, By.PROGRAM, detail=detail)
    made = Lines(calls.words)
    one = decided("read", arg, target=target, process=process, decision=decision, paths=(os.fsdecode(path),))
    text = made.line(one)
    assert text == made.line(one)  # of parts that are kept
    assert text.isascii() and text[:-1].isprintable() and text.endswith("}\n")
    line = json.loads(text)
    assert line["target"]["name"] == name and line.get("detail", "") == detail
    assert os.fsencode(line["paths"][0]) == path == os.fsencode(line["process"]["executable"])
    assert int(line["args"][0], 16) == arg


def test_targets_are_told_apart_though_their_place_in_memory_is_used_again() -> None:
    made = Lines(calls.words)
    for number in range(3000):
        target = Target(str(number), f"n{number}", number, "")
        assert json.loads(made.line(decided("getpid", target=target)))["target"]["name"] == f"n{number}"


def test_a_log_is_its_owner_s_alone_and_begun_only_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        log = opened(path)
        log.write(decided("getpid"))
        log.close()
    assert len(lines(path)) == 2 and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "nowhere"])
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "link":
        (tmp_path / "other").write_text("")
        path.symlink_to(tmp_path / "other")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = tmp_path / "no" / "log"
    with pytest.raises(BadInput):
        opened(path)


def test_another_user_s_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    opened(path).close()
    another = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: another)
    with pytest.raises(BadInput, match="another user's"):
        opened(path)


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    log.write(decided("getpid"))
    path.rename(tmp_path / "log.1")
    log.reopen()
    log.write(decided("getuid"))
    log.close()
    assert [line["call"] for line in lines(tmp_path / "log.1")] == ["getpid"]
    assert [line["call"] for line in lines(path)] == ["getuid"]


def test_a_log_that_cannot_be_opened_anew_goes_on_where_it_was(tmp_path: Path) -> None:
    path, told = tmp_path / "log", list[str]()
    log = opened(path, told.append)
    path.rename(tmp_path / "log.1")
    path.mkdir()
    log.reopen()
    log.write(decided("getuid"))
    log.close()
    assert [line["call"] for line in lines(tmp_path / "log.1")] == ["getuid"]
    assert len(told) == 1 and "the old file is written on" in told[0] and log.lost == 0


class SmallDisk:
    """A limit on the size of this process's files, which answers as a full disk does."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def room(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._before[1]))

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


def test_a_full_disk_is_told_once_counted_and_said_in_the_log(tmp_path: Path) -> None:
    path, told = tmp_path / "log", list[str]()
    log = opened(path, told.append)
    one = decided("getpid")
    size = len(Lines(calls.words).line(one))
    # More than anybody else in this process writes: the log is made as large as that.
    big = 64 << 20
    with path.open("ab") as file:
        file.truncate(big - 1)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    with SmallDisk() as disk:
        disk.room(big + 2 * size + 10)
        for _ in range(5):
            log.write(one)
            log.flush()
        wait_until(lambda: log.lost == 3, deadline_s=30, what="three lines to be lost")
        log.flush()
        assert len(told) == 1 and "cannot be written" in told[0]
    log.write(decided("getuid"))
    log.close()
    with path.open("rb") as file:
        file.seek(big)
        whole, torn = [], 0
        for line in file.read().splitlines():
            try:
                whole.append(json.loads(line))
            except ValueError:
                torn += 1
    assert [line.get("call", line.get("lost")) for line in whole] == ["getpid", "getpid", 3, "getuid"]
    assert torn == 1 and log.lost == 3
    assert len(told) == 2 and "lacks 3 decisions" in told[1]


def test_a_disk_that_hangs_holds_nobody_up_and_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told, go = tmp_path / "log", list[str](), threading.Event()
    put = journal._Writer._put

    def hangs(writer: journal._Writer, text: bytes) -> tuple[int, str | None]:
        go.wait()
        return put(writer, text)

    monkeypatch.setattr(journal._Writer, "_put", hangs)
    log = opened(path, told.append)
    one = decided("getpid", words="x" * 20_000)
    tracemalloc.start()
    for _ in range(2000):  # 40 MB
        log.write(one)
    log.flush()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * journal._MOST
    lost = log.lost
    assert 0 < lost < 2000 and len(told) == 1 and "too slow" in told[0]
    go.set()
    log.write(one)
    log.close()
    made = lines(path)
    assert [line["lost"] for line in made if "lost" in line] == [lost]
    assert len(made) == 2001 - lost + 1


def test_memory_is_flat(tmp_path: Path) -> None:
    count = 1_000_000 if os.environ.get("SCMM_SOAK") == "1" else 8_000
    log = opened(tmp_path / "log")

    def write(first: int, number: int) -> None:
        for each in range(first, first + number):
            process = Process(each, each, f"/bin/{each}", "x", 0)
            decision = Decision(Verdict.DENY, By.PROGRAM, detail=str(each))
            log.write(decided("read", each, process=process, decision=decision, target=Target(str(each), "n", 1, "")))
            if not each % 1000:
                log.flush()

    write(0, 5000)
    tracemalloc.start()
    write(5000, count)
    log.close()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20 and log.lost == 0
    with (tmp_path / "log").open("rb") as file:
        assert sum(1 for _ in file) == count + 5000


def test_nothing_runs_before_there_is_something_to_write(tmp_path: Path) -> None:
    before = threading.active_count()
    log = opened(tmp_path / "log")
    assert threading.active_count() == before
    log.write(decided("getpid", target=WEB))
    log.flush()
    assert threading.active_count() == before + 1
    log.close()
    assert threading.active_count() == before
    assert call("getpid").name == "getpid"


@pytest.mark.parametrize("comes_back", [True, False])
def test_without_a_thread_the_log_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool) -> None:
    """Targets of the same user, or in the same cgroup, may have taken all there can be."""
    path = tmp_path / "log"
    log = opened(path)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        for _ in range(3):
            log.write(decided("getpid"))
            log.flush()
        assert lines(path) == [] and log.lost == 0
        if not comes_back:
            log.close()
    if comes_back:
        log.flush()
        wait_until(lambda: len(lines(path)) == 3, deadline_s=30, what="what waited")
        log.close()
    assert [line["call"] for line in lines(path)] == ["getpid"] * 3


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
