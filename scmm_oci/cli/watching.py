"""What ``scmm watch`` begins: the watch of a command, which is attended to its end, or of a container that runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.cli import live, watch_following, watch_policy
from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import data, fail, plain, say
from scmm_oci.cli.recording import ENDING, WAITED, pass_on
from scmm_oci.cli.watch_following import telling
from scmm_oci.cli.watch_policy import Given
from scmm_oci.cli.watch_shown import for_command
from scmm_oci.errors import Failure
from scmm_oci.kernel.cgroup import Place
from scmm_oci.kernel.signals import Heard, Signals
from scmm_oci.recorder import engines, users
from scmm_oci.recorder.command import CannotExecute, Child
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import entered_by, own_cgroup, session
from scmm_oci.watch.follow import Follower

_PATIENCE_S = 5.0  # for what is left of a cgroup whose last process has ended
COMMAND = "command"  # the engine of what is no container


@dataclass(frozen=True)
class Wish:
    """policy, action, engine, metrics: as the options have them; wait: for what a command leaves behind."""

    policy: str | None
    action: str | None
    engine: str | None
    metrics: str | None
    as_json: bool
    quiet: bool
    wait: bool


def run_command(settings: Settings, command: tuple[str, ...], wish: Wish, *, user: str | None) -> int:
    """Watch a command from its first call to the end of its last process; its exit status.

    Raises:
        BadInput, Failure: it cannot be watched. Nothing of it has run then.
    """
    given = watch_policy.read(wish.policy or "", action=wish.action)
    metrics = watch_following.place_of_metrics(wish.metrics)
    whom = users.parse_user(user) if user is not None else users.invoking_user(os.environ)
    with Signals(WAITED) as signals, telling():
        place = own_cgroup.make()
        child = Child(command, user=whom, mask=signals.before)
        attended = _Attended(child, place, wish, signals)
        shown = for_command(as_json=wish.as_json, quiet=wish.quiet)
        try:
            container = {"id": Path(place.path).name, "name": Path(command[0]).name, "engine": COMMAND}
            entry = attended.entry = _begin(settings, given, pid=child.pid, container=container, place=place)
            own_cgroup.enter(place, child.pid)
            with watch_following.following(settings, entry["epoch"], shown) as follower:
                watch_following.run(follower, shown, attended, metrics, wakers=(child.pidfd, signals.descriptor))
                status = child.poll() or 0
                if not own_cgroup.remove(place, patience_s=_PATIENCE_S):
                    _say(wish, f"what goes on is watched: scmm-watch --follow {entry['container']['id']}")
                    return status
                session.finish(settings, entry, now=time.time(), why=session.OVER)
                watch_following.tell_news(follower, shown)
            return status
        except CannotExecute as error:
            _forget(settings, attended.entry, place)
            return fail(error)
        except BaseException:
            if not attended.released:
                child.abandon()
                _forget(settings, attended.entry, place)
            raise


def _begin(
    settings: Settings,
    given: Given,
    *,
    pid: int,
    container: dict[str, Any],
    place: Place | None = None,
    launcher: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Begin a watch: of what a command will execute in this cgroup, or, without one, of a container that runs."""
    return session.begin(
        settings,
        policy=given.file,
        policy_name=given.name,
        digest=given.digest,
        action=given.action,
        pid=pid,
        container=container,
        now=time.time(),
        attached=place is None,
        place=place,
        launcher=launcher,
    )


def _forget(settings: Settings, entry: dict[str, Any] | None, place: Place) -> None:
    """Nothing of the command has run: leave nothing of its watch."""
    own_cgroup.remove(place, patience_s=_PATIENCE_S)
    if entry is not None:
        session.finish(settings, entry, now=time.time(), why=session.OVER)


def _say(wish: Wish, line: str) -> None:
    if not wish.quiet:
        say(line)


class _Attended:
    """A command that is watched: what is to be done between two looks at its alerts."""

    #: Told to stay with the command whatever becomes of its alerts.
    stays = True

    def __init__(self, child: Child, place: Place, wish: Wish, signals: Signals) -> None:
        self._child, self._place, self._wish, self._signals = child, place, wish, signals
        self._told = False
        self.entry: dict[str, Any] | None = None
        self.released = False

    def begin(self) -> None:
        """Let the command be executed. Raises CannotExecute."""
        self.released = True
        self._child.release()

    def step(self, follower: Follower) -> bool:
        """Deal with signals; whether there is nothing more to wait for."""
        heard = self._signals.read()
        status = self._child.poll()
        for each in heard:
            self._pass_on(each, follower, running=status is None)
        if status is None:
            return False
        if not own_cgroup.is_populated(self._place):
            return True
        if not self._wish.wait or any(each.number in ENDING for each in heard):
            return True
        if not self._told:
            self._told = True
            left = many(len(own_cgroup.processes(self._place.directory)), "process", "processes")
            _say(self._wish, f"the command has ended, and {left} of it go on, watched; Ctrl-C leaves them so")
        return False

    def _pass_on(self, heard: Heard, follower: Follower, *, running: bool) -> None:
        if running:
            pass_on(heard, self._signals, self._child, live.NoView())
        stopped = any(each.value.frozen for each in follower.watched)
        if stopped and heard.number in ENDING:
            # Nothing that is stopped can end itself.
            _say(self._wish, "it is stopped by a violation, and so it is killed")
            own_cgroup.kill(self._place)


def watch_container(settings: Settings, name: str, wish: Wish, *, follow: bool) -> int:
    """Watch a container that runs, from here on; with follow, tell alerts until that is over.

    Raises:
        BadInput, Failure: it cannot be watched.
    """
    given = watch_policy.read(wish.policy or "", action=wish.action)
    metrics = watch_following.place_of_metrics(wish.metrics)
    kind = engines.Engine(wish.engine) if wish.engine else None
    found = engines.find_container(name, engine=kind, user=users.invoking_user(os.environ))
    container = {"id": found.id, "name": found.name, "engine": str(found.engine)}
    with telling():
        try:
            launcher = entered_by.launcher_of(found.pid)
            entry = _begin(settings, given, pid=found.pid, container=container, launcher=launcher)
        except (FileNotFoundError, ProcessLookupError):
            raise Failure(f"the container {found.name!r} has ended") from None
    called = plain(session.called(entry))
    if wish.as_json and not follow:
        data(entry)
    say(f"{called} is watched, with the policy {plain(given.name)}: {given.action}")
    if not follow:
        say(f"its alerts: scmm-watch --follow {called}; end it: scmm-watch --stop {called}")
        return 0
    watch_following.follow(settings, entry["epoch"], metrics, as_json=wish.as_json)
    if watch_following.is_there(settings, entry["epoch"]):
        say(f"{called} is watched still; end that: scmm-watch --stop {called}")
    return 0
