"""What ``scmm watch`` does with watches that there are: list them, end one, let one go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.errors import Failure, did_you_mean, short
from scmm_oci.recorder import engines, users
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import freezing, pins, session, slots, words

_MOST_NAMES = 8  # in a message
_LEAST_OF_ID = 4
_T = TypeVar("_T")


@dataclass(frozen=True)
class Standing:
    """A watch that goes on; counters None: the kernel has nothing of it."""

    entry: dict[str, Any]
    threads: int
    stopped: bool
    frozen: bool
    counters: dict[str, int] | None

    @property
    def state(self) -> str:
        """In one word."""
        if self.counters is None:
            return "lost"
        return "frozen" if self.frozen else "stopped" if self.stopped else "watching"


def standing(settings: Settings) -> list[Standing]:
    """The watches there are, when those that are over have been ended. Raises Failure."""
    try:
        for each in session.prune(settings, now=time.time()):
            say(words.line(words.over(each)))
        found = []
        for entry in session.entries(settings):
            if entry.get("live"):
                found.append(_standing(entry))
        return found
    except OSError as error:
        raise Failure(f"cannot look at the watches: {error.strerror or error}", "scmm doctor") from None


def _standing(entry: dict[str, Any]) -> Standing:
    try:
        with pins.Maps(entry["pin_dir"]) as maps:
            value = slots.value_of(maps, entry["slot"])
    except pins.PinsMissing:
        return Standing(entry, 0, False, False, None)
    if value.epoch != entry["epoch"]:
        return Standing(entry, 0, False, False, None)
    return Standing(entry, value.threads, value.frozen, freezing.is_frozen(entry), dict(value.counters))


def listed(settings: Settings, *, as_json: bool) -> int:
    """Print the watches that go on."""
    found = standing(settings)
    if as_json:
        data([_row(each) for each in found])
        return 0
    if not found:
        say("nothing is watched")
        return 0
    heads = ("container", "id", "engine", "policy", "action", "state", "threads", "violations", "since")
    _table(
        heads,
        [
            (
                session.called(each.entry),
                str(each.entry["container"].get("id") or "")[:12],
                each.entry["container"].get("engine"),
                each.entry["policy"]["name"],
                each.entry["action"],
                each.state,
                each.threads,
                None if each.counters is None else each.counters.get("violations", 0),
                each.entry["started_at"],
            )
            for each in found
        ],
    )
    return 0


def _row(one: Standing) -> dict[str, Any]:
    kept = ("container", "policy", "action", "pid", "started_at", "bundle")
    return {
        "watch": one.entry["epoch"],
        **{name: one.entry[name] for name in kept},
        "cgroup": one.entry["cgroup"]["path"],
        "state": one.state,
        "threads": one.threads,
        "counters": one.counters,
    }


def ended(settings: Settings, *, as_json: bool) -> int:
    """Print the last watches that are over."""
    found = session.ended(settings)
    if as_json:
        data([{**words.over(each), "action": each["action"], "events": each["events"]} for each in found])
        return 0
    if not found:
        say("no watch is over yet")
        return 0
    heads = ("container", "policy", "action", "since", "until", "why", "what")
    rows = []
    for each in found:
        row = (session.called(each), each["policy"]["name"], each["action"], each["started_at"], each["ended_at"])
        rows.append((*row, each["why"], words.counted(each["counters"])))
    _table(heads, rows)
    for each in found:
        for event in each["events"]:
            say(words.line(event))
    return 0


def _table(heads: tuple[str, ...], rows: Sequence[Sequence[object]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    console().print(table)


def stop(settings: Settings, wanted: str, *, engine: str | None, as_json: bool) -> int:
    """End a watch, and say what it saw. Raises Failure."""
    entry = find(settings, wanted, engine=engine)
    one = _standing(entry)
    if one.stopped or one.frozen:
        name = session.called(entry)
        raise Failure(
            f"{name} is stopped by a violation, and would stay so without anybody to let it go on",
            f"end the container, or let it go on first: scmm-watch --thaw {name}",
        )
    summary = _doing(lambda: session.finish(settings, entry, now=time.time(), why=session.STOPPED))
    if summary is None:
        raise Failure(f"the watch of {session.called(entry)} is over")
    if as_json:
        data(words.over(summary))
    say(words.line(words.over(summary)))
    return 0


def thaw(settings: Settings, wanted: str, *, engine: str | None, as_json: bool) -> int:
    """Let a container go on that a violation has stopped. Raises Failure."""
    entry = find(settings, wanted, engine=engine)
    one = _standing(entry)
    if not (one.stopped or one.frozen):
        raise Failure(f"{session.called(entry)} is not stopped")
    continued = _doing(lambda: freezing.thaw(settings, entry))
    if as_json:
        data({"container": entry["container"], "continued": continued})
    say(f"{plain(session.called(entry))}: {many(continued, 'process', 'processes')} continued; still watched")
    return 0


def _doing(what: Callable[[], _T]) -> _T:
    try:
        return what()
    except OSError as error:
        raise Failure(error.strerror or str(error), "scmm doctor") from None


def find(settings: Settings, wanted: str, *, engine: str | None) -> dict[str, Any]:
    """The watch of a container, by its name or the beginning of its id; also as an engine calls it.

    Raises:
        Failure: there is none, or more than one.
    """
    there = [each.entry for each in standing(settings)]
    found = matching(there, wanted, engine=engine)
    if not found:
        try:
            user = users.invoking_user(os.environ)
            kind = engines.Engine(engine) if engine else None
            container = engines.find_container(wanted, engine=kind, user=user)
            found = matching(there, container.id, engine=None)
        except Failure:
            pass  # it may be no engine's, and what is said of watches tells more
    if len(found) > 1:
        ids = ", ".join(str(each["container"]["id"])[:12] for each in found)
        raise Failure(f"more than one container that is watched is called {short(wanted)}", f"give an id: {ids}")
    if found:
        return found[0]
    names = sorted({session.called(each) for each in there})
    near = did_you_mean(wanted, names) if names else None
    listed = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    hint = f"did you mean {near!r}?" if near else f"watched: {listed or 'nothing'}"
    raise Failure(f"{short(wanted)} is not watched", hint)


def matching(entries: list[dict[str, Any]], wanted: str, *, engine: str | None) -> list[dict[str, Any]]:
    """The watches of a container: a name or whole id goes before the beginning of one."""
    of = [each for each in entries if engine is None or each["container"].get("engine") == engine]
    exact = [each for each in of if wanted in (each["container"].get("name"), each["container"].get("id"))]
    if exact or len(wanted) < _LEAST_OF_ID:
        return exact
    return [each for each in of if str(each["container"].get("id") or "").startswith(wanted)]
