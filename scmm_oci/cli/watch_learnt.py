"""``scmm watch --learn``: alerts that there are, on this host or as JSON in a file → a policy to merge."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scmm_oci.cli import kinds, watch_standing
from scmm_oci.cli.confine import confine
from scmm_oci.cli.kinds import Kind
from scmm_oci.cli.options import check_outputs
from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.cli.watch_standing import Standing
from scmm_oci.errors import BadInput, Failure, Problem, did_you_mean, short
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.policy import document
from scmm_oci.policy.model import Policy
from scmm_oci.recorder.settings import Settings
from scmm_oci.schema import MOST, problems
from scmm_oci.watch import learnt, pins, session, slots, words
from scmm_oci.watch.words import Event

_MOST_BYTES = 256 << 20
_MOST_NAMES = 8  # in a message
_LEAST_OF_ID = 4


def from_file(events: str, *, policy: str, output: str, container: str | None, as_json: bool) -> int:
    """Learn from what ``--follow --json`` or ``--ended --json`` wrote.

    Raises:
        BadInput: a file is not what it should be.
        Failure: the alerts are of several policies, or nothing can be written.
    """
    check_outputs([policy, events], [output])
    confine([policy, events], [output])
    given = _policy(policy)
    _check_output(output)
    return _write(given, _parsed(events), path=policy, output=output, container=container, as_json=as_json)


def from_host(settings: Settings, *, policy: str, output: str, container: str | None, as_json: bool) -> int:
    """Learn from the alerts of this host's watches, those that go on and those that are over; the rest as from_file."""
    check_outputs([policy], [output])
    given = _policy(policy)
    _check_output(output)
    return _write(given, _kept(settings), path=policy, output=output, container=container, as_json=as_json)


def _kept(settings: Settings) -> list[Event]:
    over = [event for each in session.ended(settings) for event in (*each["events"], words.over(each))]
    return [*over, *(event for each in watch_standing.standing(settings) for event in _alerts(each))]


def _alerts(one: Standing) -> list[Event]:
    entry = one.entry
    unreported = (one.counters or {}).get("unreported", 0)
    try:
        with pins.Maps(entry["pin_dir"]) as maps:
            told = session.events_of(maps, entry, slots.value_of(maps, entry["slot"]))
    except pins.PinsMissing:
        return []
    return [*told, words.gap(entry, unreported)] if unreported else told


def _policy(path: str) -> Policy:
    if not Path(path).exists():
        raise BadInput([Problem(path, "there is no such file")])
    text = read_bounded(path, document.MAX_BYTES)
    try:
        policy = document.parse(text)
    except BadInput as error:
        raise BadInput(kinds.problems(error, path, text, wanted=Kind.POLICY)) from error
    if policy.transitions is None and policy.serving is None:
        hint = "they come from captures: scmm extract --transitions -i CAPTURE -o POLICY"
        raise BadInput([Problem(path, "the policy has no transitions, so no alert is of it", hint)])
    return policy


def _check_output(path: str) -> None:
    """Raises BadInput if there is a file that is not one of these: a policy that was merged, say."""
    if not os.path.lexists(path):
        return
    try:
        made = (document.read(path).metadata.generated_from or "").startswith(learnt.MADE_BY)
    except BadInput:
        made = False
    if not made:
        message = f"is not what {learnt.MADE_BY} has written, and is not overwritten"
        raise BadInput([Problem(path, message, "give another file, and merge that: scmm merge POLICY FILE -o NEW")])


def _parsed(path: str) -> list[Event]:
    try:
        text = read_bounded(path, _MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is not UTF-8")], source=path) from None
    hint = "it is what `scmm-watch --follow --json` or `scmm-watch --ended --json` writes"
    found: list[Event] = []
    wrong: list[Problem] = []
    for place, value in _values(text, wrong, hint):
        if bad := problems(value, "watch-event"):
            wrong.append(Problem(place, f"is no event of a watch: {bad[0].problem.message}", hint))
        else:
            found.append(value)
        if len(wrong) >= MOST:
            break
    if wrong:
        raise BadInput(wrong, source=path)
    return found


def _values(text: str, wrong: list[Problem], hint: str) -> Iterator[tuple[str, Any]]:
    """(where it stands, what should be an event); lines that are no JSON go to `wrong`."""
    if text.lstrip().startswith("["):
        try:
            watches = json.loads(text)
        except ValueError as error:
            wrong.append(Problem("", f"is no JSON: {error}", hint))
            return
        for number, each in enumerate(watches):
            told = each.pop("events", ()) if isinstance(each, dict) else ()
            for index, event in enumerate(told):
                yield f"[{number}].events[{index}]", event
            if isinstance(each, dict):
                each.pop("action", None)
            yield f"[{number}]", each
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            wrong.append(Problem(f"line {number}", "is no JSON", hint))
            continue
        yield f"line {number}", value


def _write(
    policy: Policy, events: Sequence[Event], *, path: str, output: str, container: str | None, as_json: bool
) -> int:
    mine = [each for each in events if container is None or _is_of(each, container)]
    alerts = [each for each in mine if each["type"] == "alert"]
    if not alerts:
        raise _nothing(events, container)
    named = sorted({each["policy"]["name"] for each in alerts})
    if len(named) > 1:
        message = f"the alerts are of watches by several policies: {_listed(named)}"
        raise Failure(message, "say whose: scmm-watch --learn FILE -p POLICY CONTAINER")
    names = sorted({words.who(each) for each in alerts})
    made = learnt.delta(policy, mine, names=names)
    tell(made.findings)
    if as_json:
        data([_row(each) for each in made.steps])
    if not made.steps:
        say(f"{plain(path)} has every step that {many(len(alerts), 'alert tells', 'alerts tell')} of and it can have")
        return 0
    atomic_write(output, learnt.text(made))
    for each in made.steps:
        say(f"  {each}")
    say(f"{plain(output)}: {many(len(made.steps), 'step')} that {plain(path)} does not have")
    say(f"look through it, then: scmm merge {plain(path)} {plain(output)} -o NEW")
    return 0


def _row(one: learnt.Step) -> dict[str, Any]:
    return {
        "phase": "serving" if one.serving else "startup",
        "key": one.key,
        "to": one.to,
        "count": one.count,
        "programs": list(one.programs),
        "guarded": one.guarded,
    }


def _is_of(event: Event, container: str) -> bool:
    found = event["container"]
    return container == found["name"] or (len(container) >= _LEAST_OF_ID and str(found["id"]).startswith(container))


def _nothing(events: Sequence[Event], container: str | None) -> Failure:
    names = sorted({words.who(each) for each in events if each["type"] == "alert"})
    if container is None or not names:
        return Failure("there are no alerts", "the last 16 of each watch are kept; scmm-watch --ended has counters")
    near = did_you_mean(container, names)
    hint = f"did you mean {near!r}?" if near else f"there are some of: {_listed(names)}"
    return Failure(f"there are no alerts of {short(container)}", hint)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
