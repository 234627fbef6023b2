"""``scmm watch --follow``, and what a command's watch has in common with it: look, tell, wait, with metrics beside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from scmm_oci.cli import watch_standing
from scmm_oci.cli.output import plain, say
from scmm_oci.cli.recording import ENDING, WAITED
from scmm_oci.cli.watch_shown import Shown, for_followers
from scmm_oci.enforcer.monitor import scraping
from scmm_oci.errors import Failure
from scmm_oci.kernel.libbpf import LibbpfMissing
from scmm_oci.kernel.signals import Signals
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import session
from scmm_oci.watch.follow import Follower
from scmm_oci.watch.metrics import Metrics

_INTERVAL_S = 0.05

MetricsPlace = tuple[str, int] | str | None


class Attends(Protocol):
    """Who has something to do between two looks."""

    #: Whether it goes on when alerts cannot be read.
    stays: bool

    def begin(self) -> None:
        """Called once, when all is ready."""

    def step(self, follower: Follower) -> bool:
        """Called after each look; whether it is over."""


def place_of_metrics(text: str | None) -> MetricsPlace:
    """Where ``--metrics`` says. Raises BadInput."""
    return None if text is None else scraping.parse(text)


def follow_named(
    settings: Settings, container: str | None, *, engine: str | None, metrics: str | None, as_json: bool
) -> int:
    """Tell alerts of one watch until it is over, or of all until a signal comes.

    Raises:
        BadInput, Failure: there is no such watch, or nobody can be told.
    """
    place = place_of_metrics(metrics)
    epoch = None if container is None else watch_standing.find(settings, container, engine=engine)["epoch"]
    follow(settings, epoch, place, as_json=as_json)
    return 0


def follow(settings: Settings, epoch: int | None, metrics: MetricsPlace, *, as_json: bool) -> None:
    """Tell alerts of the watch with this epoch until it is over or a signal comes; None: of all. Raises Failure."""
    shown = for_followers(as_json=as_json)
    with Signals(WAITED) as signals, telling(), following(settings, epoch, shown) as follower:
        run(follower, shown, _Following(settings, epoch, signals), metrics, wakers=(signals.descriptor,))


class _Following:
    """Ends by a signal, or with the watch."""

    stays = False

    def __init__(self, settings: Settings, epoch: int | None, signals: Signals) -> None:
        self._settings, self._epoch, self._signals = settings, epoch, signals

    def begin(self) -> None:
        """Nothing is to be done."""

    def step(self, follower: Follower) -> bool:
        """Whether a signal came that ends programs, or the watch is over."""
        if any(each.number in ENDING for each in self._signals.read()):
            return True
        return self._epoch is not None and not follower.watched and not is_there(self._settings, self._epoch)


def is_there(settings: Settings, epoch: int) -> bool:
    """Whether a watch goes on."""
    return any(each.get("epoch") == epoch for each in session.entries(settings))


def run(follower: Follower, shown: Shown, attends: Attends, metrics: MetricsPlace, *, wakers: Sequence[int]) -> None:
    """Look, tell, and do what is to be done, until that is over.

    wakers: descriptors that end a pause when they can be read. Raises Failure: metrics cannot be given there; what
    `attends.begin` raises; OSError: alerts cannot be read.
    """
    asyncio.run(_run(follower, shown, attends, metrics, wakers))


async def _run(
    follower: Follower, shown: Shown, attends: Attends, metrics: MetricsPlace, wakers: Sequence[int]
) -> None:
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
        attends.begin()
        told = ""
        while True:
            try:
                tell_news(follower, shown)
            except OSError as error:
                if not attends.stays:
                    raise
                if told != str(error):
                    told = str(error)
                    say(f"alerts cannot be read: {plain(error.strerror or error)}")
            if attends.step(follower):
                return
            woken.clear()
            for each in wakers:
                loop.add_reader(each, wake, each)
            try:
                await asyncio.wait_for(woken.wait(), _INTERVAL_S)
            except TimeoutError:
                pass
    finally:
        for each in wakers:
            loop.remove_reader(each)
        if scraped is not None:
            await scraped.close()


def tell_news(follower: Follower, shown: Shown) -> None:
    """Tell what there is since the last time. Raises OSError."""
    for event in follower.poll():
        shown.tell(event)
    shown.totals(follower.watched)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"


@contextmanager
def following(settings: Settings, epoch: int | None, shown: Shown) -> Iterator[Follower]:
    """A follower of the watch with this epoch, or of all, which is closed at the end."""
    follower = Follower(
        settings,
        wanted=lambda entry: epoch in (None, entry["epoch"]),
        clock=time.time_ns,
        monotonic=time.monotonic_ns,
    )
    try:
        yield follower
    finally:
        shown.close()
        follower.close()


@contextmanager
def telling() -> Iterator[None]:
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
