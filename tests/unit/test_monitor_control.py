"""``scmm monitor status``, and the socket that it asks."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from decided import AT

from scmm_oci.cli.monitor_status import status
from scmm_oci.cli.output import run
from scmm_oci.enforcer.monitor import control, exchanges
from scmm_oci.enforcer.monitor.control import Control, TargetStatus, ask, document, path_beside
from scmm_oci.enforcer.monitor.sockets import Listening
from scmm_oci.errors import Failure

WEB = TargetStatus("0123abcd", "web", 4711, AT, calls=30, allowed=20, denied=9, waiting=1)
NASTY = TargetStatus("id", "x\x1b[2J\nmonitor: 1\u202e", 0, AT, calls=0, allowed=0, denied=0, waiting=0)


def said(*targets: TargetStatus) -> dict[str, Any]:
    return document(
        since=AT,
        now=AT + 90,
        targets=targets,
        questions=2,
        totals={"verdicts": {"allow": 20, "deny": 9, "kill": 0, "return": 0}, "by": {"person": 9, "rule": 20}},
        learnt="/x/delta.scmm.yaml",
        learnt_calls=12,
        log="/x/log",
        log_lost=3,
    )


@contextmanager
def monitor(directory: Path, document_: dict[str, Any]) -> Iterator[Path]:
    """A control socket that answers, on a loop of its own; the path of the listener beside it."""
    listener = directory / "run" / "notify.sock"
    ready = threading.Event()
    end: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        end.append(lambda: loop.call_soon_threadsafe(stop.set))
        one = Control(Listening(path_beside(str(listener))), lambda: document_)
        await one.start()
        ready.set()
        await stop.wait()
        await one.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield listener
    finally:
        end[0]()
        thread.join()


def command(*words: str) -> int:
    return run(status, words, name="scmm monitor status")


def test_the_status_is_printed_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with monitor(tmp_path, said(WEB, NASTY)) as listener:
        assert command("--socket", str(listener)) == 0
    out = capsys.readouterr().out
    assert f"process {os.getpid()}, since 2023-11-14T22:13:20Z" in out
    assert "20 allow, 9 deny" in out and "9 person, 20 rule" in out and "2 open" in out
    assert "12 calls, to /x/delta.scmm.yaml" in out and "/x/log, which lacks 3 decisions" in out
    (row,) = (line.split() for line in out.splitlines() if line.startswith("web"))
    assert row == ["web", "4711", "2023-11-14T22:13:20Z", "30", "20", "9", "1", "0123abcd"]
    assert "\x1b" not in out and "\u202e" not in out and "\\x1b[2J\\nmonitor" in out


def test_a_long_name_is_cut_in_the_table_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x00" * 4096
    with monitor(tmp_path, said(replace(WEB, name=name), WEB)) as listener:
        assert command("--socket", str(listener)) == 0
        table = capsys.readouterr().out
        assert command("--socket", str(listener), "--json") == 0
    assert "\\x00" in table and "…" in table and len(table) < 4096
    assert json.loads(capsys.readouterr().out)["targets"][0]["name"] == name


def test_the_status_is_printed_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with monitor(tmp_path, said(WEB, NASTY)) as listener:
        assert command("--socket", str(listener), "--json") == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert found == said(WEB, NASTY) and "\x1b" not in out
    assert found["targets"][0]["name"] == "web" and found["monitor"]["uptime"] == 90


def test_a_monitor_without_targets_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with monitor(tmp_path, {**said(), "learning": None, "log": None}) as listener:
        assert command("--socket", str(listener)) == 0
    out = capsys.readouterr().out
    assert "no listener has been handed over" in out and "learning" not in out and "log:" not in out


@pytest.mark.parametrize("left", [False, True])
def test_no_monitor_is_told_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], left: bool) -> None:
    if left:  # a socket that a killed one has left
        (tmp_path / "run").mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "run" / "control.sock"))
    assert command("--socket", str(tmp_path / "run" / "notify.sock")) == 1
    told = capsys.readouterr()
    assert told.out == "" and "no monitor listens at" in told.err and "start one: scmm-monitor" in told.err


def test_the_usual_place_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid() or 1000
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert command() == 1
    assert f"{tmp_path}/scmm/monitor/control.sock" in capsys.readouterr().err
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert command() == 1
    assert "--socket" in capsys.readouterr().err


def test_the_socket_is_its_owner_s_alone(tmp_path: Path) -> None:
    with monitor(tmp_path, said()) as listener:
        path = listener.with_name("control.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_who_is_another_user_gets_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monitor(tmp_path, said()) as listener:
        assert ask(path_beside(str(listener)))["questions"] == 2
        monkeypatch.setattr(control, "refusal", lambda peer, connection, most_filters: f"it is of user {peer.uid}")
        with pytest.raises(Failure, match="does not"):
            ask(path_beside(str(listener)))


def test_another_user_s_monitor_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monitor(tmp_path, said()) as listener:
        peer = control.peer_of

        def stranger(connection: socket.socket) -> Any:
            found = peer(connection)
            return type(found)(found.pid, os.geteuid() + 1, found.gid)

        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        monkeypatch.setattr(control, "peer_of", stranger)
        with pytest.raises(Failure, match="another user's"):
            ask(path_beside(str(listener)))


def exchange(listener: Path, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path_beside(str(listener)))
        try:
            connection.sendall(question)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        except (BrokenPipeError, ConnectionResetError):
            return b""
        return answer


def test_questions_are_bounded_in_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monitor(tmp_path, said()) as listener:
        assert json.loads(exchange(listener, b"status\n"))["questions"] == 2
        with monkeypatch.context() as quick:
            quick.setattr(exchanges, "DEADLINE_S", 0.1)
            assert exchange(listener, b"sta") == b""  # in time nothing whole
            assert exchange(listener, b"") == b""
        assert exchange(listener, b"x" * 100_000 + b"\n") == b""
        assert b"the one question is" in exchange(listener, b"stop\n")
        assert json.loads(exchange(listener, b"status\n"))["questions"] == 2


def test_many_that_say_nothing_hold_up_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monitor(tmp_path, said()) as listener:
        with monkeypatch.context() as quick:
            quick.setattr(exchanges, "DEADLINE_S", 0.2)
            idle = [socket.socket(socket.AF_UNIX) for _ in range(3 * exchanges.MOST)]
            for one in idle:
                one.connect(path_beside(str(listener)))
            for one in idle:  # all are hung up on
                one.settimeout(30)
                assert one.recv(1) == b""
                one.close()
        assert json.loads(exchange(listener, b"status\n"))["questions"] == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "does not say what it does"),
        (b"[]", "does not say what it does"),
        (b'{"format": 1}', "does not say what it does"),
        (b"[" * 100_000, "does not say what it does"),
        (json.dumps({**said(), "version": 2}).encode(), "of another version"),
    ],
)
def test_what_is_no_status_is_refused(tmp_path: Path, answer: bytes, why: str) -> None:
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Failure, match=why):
            ask(path)
        thread.join()


def test_a_monitor_that_does_not_answer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "DEADLINE_S", 0.05)
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with pytest.raises(Failure, match="does not answer"):
            ask(path)
