"""What ``scmm watch`` does: begin the watch of a command or container, follow watches, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.cli import live, watch_policy, watch_standing
from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import data, fail, plain, say
from scmm_oci.cli.recording import ENDING, WAITED, pass_on
from scmm_oci.cli.watch_shown import Shown, for_command, for_followers
from scmm_oci.enforcer.monitor import scraping
from scmm_oci.errors import Failure
from scmm_oci.kernel.cgroup import Place
from scmm_oci.kernel.libbpf import LibbpfMissing
from scmm_oci.kernel.signals import Heard, Signals
from scmm_oci.recorder import engines, users
from scmm_oci.recorder.command import CannotExecute, Child
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import entered_by, own_cgroup, session
from scmm_oci.watch.follow import Follower
from scmm_oci.watch.metrics import Metrics

_INTERVAL_S = 0.05
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
    place_of_metrics = _metrics_place(wish)
    whom = users.parse_user(user) if user is not None else users.invoking_user(os.environ)
    with Signals(WAITED) as signals, _telling():
        place = own_cgroup.make()
        child = Child(command, user=whom, mask=signals.before)
        entry: dict[str, Any] | None = None
        try:
            entry = session.begin(
                settings,
                policy=given.file,
                policy_name=given.name,
                digest=given.digest,
                action=given.action,
                pid=child.pid,
                container={
                    "id": Path(place.path).name,
                    "name": Path(command[0]).name,
                    "engine": COMMAND,
                },
                now=time.time(),
                attached=False,
                place=place,
            )
            own_cgroup.enter(place, child.pid)
        except BaseException:
            child.abandon()
            _forget(settings, entry, place)
            raise
        shown = for_command(as_json=wish.as_json, quiet=wish.quiet)
        try:
            child.release()
        except CannotExecute as error:
            _forget(settings, entry, place)
            return fail(error)
        attended = _Attended(child, place, entry, wish, signals)
        with _following(settings, lambda each: each["epoch"] == entry["epoch"], shown) as follower:
            asyncio.run(_loop(follower, shown, attended.step, place_of_metrics, (child.pidfd, signals.descriptor)))
            status = child.poll()
            if not own_cgroup.remove(place, patience_s=_PATIENCE_S):
                _say(wish, f"what goes on is watched: scmm-watch --follow {entry['container']['id']}")
                return status or 0
            session.finish(settings, entry, now=time.time(), why=session.OVER)
            for event in follower.poll():
                shown.tell(event)
        return status or 0


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

    def __init__(self, child: Child, place: Place, entry: dict[str, Any], wish: Wish, signals: Signals) -> None:
        self._child, self._place, self._entry, self._wish, self._signals = child, place, entry, wish, signals
        self._told = False

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
    place_of_metrics = _metrics_place(wish)
    kind = engines.Engine(wish.engine) if wish.engine else None
    found = engines.find_container(name, engine=kind, user=users.invoking_user(os.environ))
    with _telling():
        try:
            entry = session.begin(
                settings,
                policy=given.file,
                policy_name=given.name,
                digest=given.digest,
                action=given.action,
                pid=found.pid,
                container={"id": found.id, "name": found.name, "engine": str(found.engine)},
                now=time.time(),
                attached=True,
                launcher=entered_by.launcher_of(found.pid),
            )
        except (FileNotFoundError, ProcessLookupError):
            raise Failure(f"the container {found.name!r} has ended") from None
    called = plain(session.called(entry))
    if wish.as_json and not follow:
        data(entry)
    say(f"{called} is watched, with the policy {plain(given.name)}: {given.action}")
    if not follow:
        say(f"its alerts: scmm-watch --follow {called}; end it: scmm-watch --stop {called}")
        return 0
    code = _follow(settings, lambda each: each["epoch"] == entry["epoch"], wish, place_of_metrics, until_over=True)
    if any(each["epoch"] == entry["epoch"] for each in session.entries(settings)):
        say(f"{called} is watched still; end that: scmm-watch --stop {called}")
    return code


def follow(settings: Settings, container: str | None, wish: Wish) -> int:
    """Tell alerts of one watch until it is over, or of all until a signal comes.

    Raises:
        Failure: there is no such watch.
    """
    place_of_metrics = _metrics_place(wish)
    if container is None:
        return _follow(settings, lambda each: True, wish, place_of_metrics, until_over=False)
    entry = watch_standing.find(settings, container, engine=wish.engine)
    return _follow(settings, lambda each: each["epoch"] == entry["epoch"], wish, place_of_metrics, until_over=True)


def _follow(
    settings: Settings,
    wanted: Callable[[dict[str, Any]], bool],
    wish: Wish,
    metrics: tuple[str, int] | str | None,
    *,
    until_over: bool,
) -> int:
    shown = for_followers(as_json=wish.as_json)
    begun = False

    with Signals(WAITED) as signals, _telling(), _following(settings, wanted, shown) as follower:

        def step(following: Follower) -> bool:
            nonlocal begun
            if any(each.number in ENDING for each in signals.read()):
                return True
            begun = begun or bool(following.watched)
            return until_over and begun and not following.watched

        asyncio.run(_loop(follower, shown, step, metrics, (signals.descriptor,)))
    return 0


async def _loop(
    follower: Follower,
    shown: Shown,
    step: Callable[[Follower], bool],
    metrics: tuple[str, int] | str | None,
    wakers: tuple[int, ...],
) -> None:
    """Look, tell, and do what is to be done, until `step` says that it is over.

    wakers: descriptors that end a pause when they can be read.
    """
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake(descriptor: int) -> None:
        woken.set()
        loop.remove_reader(descriptor)

    scraped = scraping.Scraping(Metrics(lambda: follower.watched)) if metrics is not None else None
    try:
        if scraped is not None and metrics is not None:
            where = await scraped.start(metrics)
            say(f"metrics: {plain(where) if isinstance(where, str) else _url(*where)}")
        while True:
            for event in follower.poll():
                shown.tell(event)
            shown.totals(follower.watched)
            if step(follower):
                break
            woken.clear()
            for each in wakers:
                loop.add_reader(each, wake, each)
            try:
                await asyncio.wait_for(woken.wait(), _INTERVAL_S)
            except TimeoutError:
                pass
        for event in follower.poll():
            shown.tell(event)
    finally:
        for each in wakers:
            loop.remove_reader(each)
        if scraped is not None:
            await scraped.close()


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"


def _metrics_place(wish: Wish) -> tuple[str, int] | str | None:
    return None if wish.metrics is None else scraping.parse(wish.metrics)


@contextmanager
def _following(settings: Settings, wanted: Callable[[dict[str, Any]], bool], shown: Shown) -> Iterator[Follower]:
    follower = Follower(settings, wanted=wanted, clock=time.time_ns, monotonic=time.monotonic_ns)
    try:
        yield follower
    finally:
        shown.close()
        follower.close()


@contextmanager
def _telling() -> Iterator[None]:
    """What the system says is an error of ours, with what to do."""
    try:
        yield
    except session.Held as error:
        name = session.called(error.entry)
        raise Failure(error.strerror or str(error), f"end that first: scmm-watch --stop {name}") from None
    except LibbpfMissing as error:
        raise Failure(f"cannot watch: {error.strerror}", "Debian and Ubuntu: apt install libbpf1") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"cannot watch: {error.strerror or error}", "scmm doctor says what is missing") from None
