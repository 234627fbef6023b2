"""What ``scmm record`` does with a command, a process or a container: begin, wait, pass signals on, end, write."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass

from scmm_oci.cli import live
from scmm_oci.cli.outcome import report
from scmm_oci.cli.output import fail, plain, say
from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.files import atomic_write, check_writable
from scmm_oci.kernel.signals import Heard, Signals
from scmm_oci.oci.annotations import NAME_RULE, is_capture_name
from scmm_oci.recorder import engines, processes, session, target, users
from scmm_oci.recorder.command import CannotExecute, Child
from scmm_oci.recorder.filtering import only
from scmm_oci.recorder.owned import Recording
from scmm_oci.recorder.settings import Settings
from scmm_oci.recorder.store import encode
from scmm_oci.recorder.users import User
from scmm_oci.tables.categories import Category

# What ends a recording of something that is not ours; a command gets it passed on, and decides itself.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
WAITED = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP)
_LONGEST_PAUSE_S = 3600.0


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
    """What becomes of it.

    duration_s: seconds, or None for until it ends; live: None for as it suits; depth: of the order of calls, 2 or 3.
    """

    output: str
    name: str | None
    duration_s: float | None
    categories: Collection[Category]
    live: bool | None
    quiet: bool
    depth: int


def run(settings: Settings, what: Target, wish: Wish, *, as_json: bool) -> int:
    """Record, and write the capture; the exit code: a command's own, else 0.

    Raises:
        BadInput, Failure: it cannot be recorded, or not be written.
    """
    user = _check(what, wish)
    check_writable(wish.output)
    name = wish.name or target.capture_name(wish.output)
    try:
        if what.snapshot is not None:
            document = only({**_snapshot(settings, what), "name": name}, wish.categories)
            _write(wish, document)
            report(document, wish.output, status=None, as_json=as_json, quiet=wish.quiet)
            return 0
        with Signals(WAITED) as signals:
            return _record(settings, what, wish, signals, name=name, user=user, as_json=as_json)
    except session.Unsaved as error:
        raise Failure(error.strerror or str(error)) from None
    except OSError as error:
        raise Failure(f"cannot record: {error.strerror or error}", "scmm doctor says what is missing") from None


def _check(what: Target, wish: Wish) -> User | None:
    """Whom a command runs as. Raises BadInput with all that is wrong with what the user gave."""
    problems = []
    user = None
    if not wish.output:
        problems.append(Problem("--output", "the file's name is empty", "is a variable unset?"))
    if wish.name is not None and not is_capture_name(wish.name):
        problems.append(Problem("--name", "is not a capture's name", NAME_RULE))
    try:
        if what.command:
            user = users.parse_user(what.user) if what.user is not None else users.invoking_user(os.environ)
    except BadInput as error:
        problems += error.problems
    if problems:
        raise BadInput(problems)
    return user


def _snapshot(settings: Settings, what: Target) -> dict[str, object]:
    wanted = what.snapshot or ""
    try:
        return target.snapshot(settings, wanted)
    except target.NoRecording as error:
        # What hooks record is called by the container's id, unless an annotation says otherwise.
        try:
            found = engines.find_container(wanted, engine=_engine(what), user=users.invoking_user(os.environ))
            return target.snapshot(settings, found.id)
        except Failure:
            raise error from None


def _engine(what: Target) -> engines.Engine | None:
    return engines.Engine(what.engine) if what.engine else None


def _record(
    settings: Settings, what: Target, wish: Wish, signals: Signals, *, name: str, user: User | None, as_json: bool
) -> int:
    child: Child | None = None
    if what.command:
        child = Child(what.command, user=user, mask=signals.before)
        try:
            running = target.record_command(
                settings, child, what.command, name=name, user=user, follow=what.follow, depth=wish.depth
            )
        except BaseException:
            child.abandon()
            raise
        pidfd = child.pidfd
    elif what.pid is not None:
        pidfd = processes.open_process(what.pid)
        running = target.record_process(settings, what.pid, name=name, follow=what.follow, depth=wish.depth)
    else:
        found = engines.find_container(what.container or "", engine=_engine(what), user=users.invoking_user(os.environ))
        pidfd = processes.open_process(found.pid)
        running = target.record_container(settings, found, name=name, depth=wish.depth)
    try:
        if child is not None:
            child.release()
        _wait(running, pidfd, child, wish, signals)
    except CannotExecute as error:
        running.discard()  # nothing was recorded, and a capture that was there is worth more
        return fail(error)
    except BaseException:
        running.finish(shape=lambda whole: only(whole, wish.categories), save=lambda whole: _write(wish, whole))
        raise
    _, document = running.finish(
        shape=lambda whole: only(whole, wish.categories), save=lambda whole: _write(wish, whole)
    )
    status = child.poll() if child is not None else None
    report(document, wish.output, status=status, as_json=as_json, quiet=wish.quiet)
    if child is not None and status is None and not wish.quiet:
        say(f"{plain(what.command[0])} goes on without being recorded, as process {child.pid}")
    return status or 0


def _wait(running: Recording, pidfd: int, child: Child | None, wish: Wish, signals: Signals) -> None:
    """Until the target ends, the time is over, or someone says so."""
    deadline = time.monotonic() + wish.duration_s if wish.duration_s is not None else None
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(signals.descriptor, select.POLLIN)
    form = live.form_of(wanted=wish.live, command=child is not None)
    with live.live_view(running, form) as view:
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            pause = min(each for each in (left, view.interval_s, _LONGEST_PAUSE_S) if each is not None)
            ready = {descriptor for descriptor, _ in poll.poll(max(1, int(pause * 1000)))}
            heard = signals.read() if signals.descriptor in ready else []
            ends = [pass_on(each, signals, child, view) for each in heard]
            if pidfd in ready or any(ends):
                return
            try:
                view.refresh()
            except OSError:
                view = live.NoView()  # the terminal is gone, or the recording; the end will tell


def pass_on(heard: Heard, signals: Signals, child: Child | None, view: live.NoView) -> bool:
    """Deal with a signal; whether the recording is to end.

    What is sent to us alone is passed on to the command, which decides itself; what a terminal sends (Ctrl-C) the
    command has got already. A target that is not ours gets nothing, and the recording ends.
    """
    passed_on = child is not None and not (
        heard.sender == child.pid if not heard.by_kernel else child.is_in_our_group()
    )
    if child is not None and passed_on:
        child.send(heard.number)
    if heard.number == signal.SIGTSTP:
        view.hide()
        signals.let(signal.SIGTSTP)  # we stop here, and go on at SIGCONT
        if child is not None and passed_on:
            child.send(signal.SIGCONT)
        return False
    return child is None and heard.number in ENDING


def _write(wish: Wish, document: dict[str, object]) -> str:
    """Write the capture; it belongs to who called sudo."""
    user = users.invoking_user(os.environ)
    try:
        atomic_write(wish.output, encode(document), 0o600, owner=(user.uid, user.gid) if user else None)
    except Failure as error:
        raise OSError(str(error)) from None  # then it is kept in the run directory
    return wish.output
