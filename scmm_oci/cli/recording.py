"""What ``scmm record`` does with a command, a process or a container: begin, wait, pass signals on, end, write."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.capture import file as capture_file
from scmm_oci.cli.output import data, plain, say
from scmm_oci.errors import Failure
from scmm_oci.files import atomic_write
from scmm_oci.recorder import command as commands
from scmm_oci.recorder import engines, target
from scmm_oci.recorder.command import Child
from scmm_oci.recorder.filtering import only
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables.categories import Category

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Target:
    """What is recorded: one of a command, a process, a container, or a recording that runs."""

    command: tuple[str, ...]
    pid: int | None
    container: str | None
    engine: str | None
    snapshot: str | None
    user: str | None
    follow: bool


@dataclass(frozen=True)
class Wish:
    """What becomes of it. duration_s: seconds, or None for until it ends."""

    output: str
    name: str | None
    duration_s: float | None
    categories: Collection[Category]
    quiet: bool


def run(settings: Settings, what: Target, wish: Wish, *, as_json: bool) -> int:
    """Record, and write the capture; the exit code: a command's own, else 0.

    Raises:
        BadInput, Failure: it cannot be recorded, or not be written.
    """
    _check_output(wish.output)
    name = wish.name or target.capture_name(wish.output)
    try:
        if what.snapshot is not None:
            _write(wish, {**target.snapshot(settings, what.snapshot), "name": name})
            _report(wish, as_json=as_json)
            return 0
        return _record(settings, what, wish, name=name, as_json=as_json)
    except OSError as error:
        text = error.strerror or str(error)
        hint = "recording needs root" if os.geteuid() else "scmm doctor says what is missing"
        raise Failure(f"cannot record: {text}", hint) from None


def _check_output(path: str) -> None:
    """Fail before anything runs, not after."""
    directory = Path(path).parent
    if not directory.is_dir():
        raise Failure(f"{path} cannot be written: there is no directory {directory}")
    if not os.access(directory, os.W_OK):
        raise Failure(f"{path} cannot be written: {directory} is not writable")


def _record(settings: Settings, what: Target, wish: Wish, *, name: str, as_json: bool) -> int:
    waited = {*_ENDING, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2}
    # Blocked, and read where we wait: nothing can interrupt us between the beginning of a recording and its end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child: Child | None = None
    try:
        if what.command:
            user = commands.parse_user(what.user) if what.user else commands.invoking_user(os.environ)
            child = Child(what.command, user=user, mask={int(each) for each in before})
            try:
                running = target.record_command(settings, child, what.command, name=name, user=user, follow=what.follow)
            except BaseException:
                child.abandon()
                raise
            pidfd = child.pidfd
        elif what.pid is not None:
            pidfd = _pidfd(what.pid)
            running = target.record_process(settings, what.pid, name=name, follow=what.follow)
        else:
            engine = engines.Engine(what.engine) if what.engine else None
            found = engines.find_container(what.container or "", engine=engine)
            pidfd = _pidfd(found.pid)
            running = target.record_container(settings, found, name=name)
        failure: Failure | None = None
        try:
            if child is not None:
                child.release()
            _wait(running, pidfd, child, wish, waited=waited)
        except Failure as error:
            failure = error
        finally:
            _, document = running.finish(
                shape=lambda whole: only(whole, wish.categories), save=lambda whole: _write(wish, whole)
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if failure is not None:
        say(f"error: {failure}")
    else:
        _report(wish, as_json=as_json, document=document)
    if child is None:
        return 0
    # A command that goes on after the recording (--duration) has no status yet.
    return child.poll() or 0


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise Failure(f"there is no process {pid}") from None
    except OSError as error:
        raise Failure(f"{pid} is no process: {error.strerror}", "a thread's id? give its process's") from None


def _wait(
    running: target.Recording, pidfd: int, child: Child | None, wish: Wish, *, waited: Collection[signal.Signals]
) -> None:
    """Until the target ends, the time is over, or someone says so."""
    from scmm_oci.cli.live import live_view

    deadline = time.monotonic() + wish.duration_s if wish.duration_s is not None else None
    reading = signal_descriptor(waited)
    try:
        with live_view(running, quiet=wish.quiet) as view:
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                pause = min(each for each in (left, view.interval_s, 3600.0) if each is not None)
                ready, _, _ = select.select([pidfd, reading], [], [], pause)
                if reading in ready and _heard(reading, child):
                    return
                if pidfd in ready:
                    return
                view.refresh()
    finally:
        os.close(reading)


def signal_descriptor(numbers: Collection[signal.Signals]) -> int:
    """signalfd(2) for blocked signals."""
    import ctypes
    import struct

    mask = 0
    for number in numbers:
        mask |= 1 << (number - 1)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.signalfd(-1, struct.pack("=Q128x", mask), os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return descriptor


def _heard(descriptor: int, child: Child | None) -> bool:
    """Deal with the signals that came; whether the recording is to end.

    What a user sends to us alone is passed on to the command, which decides itself; what a terminal sends (Ctrl-C)
    the command has got already. A target that is not ours gets nothing, and the recording ends.
    """
    size = 128  # struct signalfd_siginfo
    end = False
    while True:
        try:
            said = os.read(descriptor, size)
        except BlockingIOError:
            return end
        number = int.from_bytes(said[0:4], "little")
        code = int.from_bytes(said[8:12], "little", signed=True)
        if number == signal.SIGCHLD:
            continue
        if child is None:
            end = end or number in _ENDING
        elif code <= commands.SI_USER:
            child.send(number)


def _write(wish: Wish, document: dict[str, Any]) -> str:
    """Write the capture; it belongs to who called sudo."""
    from scmm_oci.recorder.store import encode

    user = commands.invoking_user(os.environ)
    try:
        atomic_write(wish.output, encode(document), 0o600, owner=(user.uid, user.gid) if user else None)
    except Failure as error:
        raise OSError(errno.EIO, str(error)) from None  # then it is kept in the run directory
    return wish.output


def _report(wish: Wish, *, as_json: bool, document: dict[str, Any] | None = None) -> None:
    capture = capture_file.read(wish.output) if document is None or as_json else None
    if as_json and capture is not None:
        data(
            {
                "path": wish.output,
                "name": capture.name,
                "complete": capture.complete,
                "losses": [vars(loss) for loss in capture.losses],
            }
        )
    if not wish.quiet:
        say(f"{plain(wish.output)}: {plain(summary(document) if document else 'written')}")


def summary(document: dict[str, Any]) -> str:
    """One line on what a capture holds."""
    calls = [call for each in document["sessions"] for call in each["phases"]["app"]]
    names = len({(call["arch"], call["nr"]) for call in calls})
    total = sum(call["entered"] for call in calls)
    missing = ", ".join(f"{each['kind']} ×{each['count']}" for each in document["losses"])
    parts = [
        f"{names} system calls ({total} made)",
        f"{len({row['path'] for row in document['files']})} files",
        f"{len(document['sockets'])} addresses",
        f"{len(document['programs'])} programs",
    ]
    return f"{', '.join(parts)}; " + (f"incomplete: {missing}" if missing else "complete")
