"""Answers so far → the next question, or the end of the interview. Pure: the same answers lead to the same place.

What was answered is a list of events, and undoing or reopening are events too. Questions are asked anew in their order;
those that have an answer are passed. So an answer can bring questions with it, and an earlier one can be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from scmm_oci.cli.interview.absent_part import absent_part
from scmm_oci.cli.interview.arguments_part import arguments_part
from scmm_oci.cli.interview.calls_part import calls_part, default_part
from scmm_oci.cli.interview.files_part import files_part
from scmm_oci.cli.interview.network_part import network_part
from scmm_oci.cli.interview.order_part import order_part
from scmm_oci.cli.interview.questions import Answer, Asking, Part, Question, check
from scmm_oci.cli.interview.world import World
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.choices import Choices

_PARTS: Mapping[Part, Callable[[World, Choices], Asking]] = {
    Part.DEFAULT: default_part,
    Part.CALLS: calls_part,
    Part.FILES: files_part,
    Part.ABSENT: absent_part,
    Part.NETWORK: network_part,
    Part.ARGUMENTS: arguments_part,
    Part.ORDER: order_part,
}


class Did(StrEnum):
    """What a person did."""

    ANSWER = "answer"
    REOPEN = "reopen"
    UNDO = "undo"


@dataclass(frozen=True)
class Event:
    """Something that was done: an answer to the question ``what``, part ``what`` opened again, or one step undone."""

    did: Did
    what: str = ""
    answer: Answer = ""


@dataclass(frozen=True)
class Position:
    """Where an interview is.

    Attributes:
        choices: as the answers so far make them.
        question: the next one; None when everything is answered.
        asked: how many questions have been passed.
        parts: those that the captures give questions for, as far as they have been reached.
    """

    choices: Choices
    question: Question | None
    asked: int
    parts: tuple[Part, ...]


def answers_of(events: Iterable[Event]) -> tuple[dict[str, Answer], dict[str, Answer]]:
    """The answers that hold after the events, by question; and the last one that was ever given to each."""
    now: dict[str, Answer] = {}
    before: list[dict[str, Answer]] = []
    last: dict[str, Answer] = {}
    for event in events:
        if event.did is Did.UNDO:
            now = before.pop() if before else now
            continue
        before.append(now)
        if event.did is Did.ANSWER:
            now = {**now, event.what: event.answer}
            last[event.what] = event.answer
        else:
            now = {key: value for key, value in now.items() if key.partition("/")[0] != event.what}
    return now, last


def can_undo(events: Sequence[Event]) -> bool:
    """Whether there is a step to undo."""
    undone = 0
    for event in reversed(events):
        if event.did is Did.UNDO:
            undone += 1
        elif undone:
            undone -= 1
        else:
            return True
    return False


def position(world: World, initial: Choices, events: Sequence[Event]) -> Position:
    """Where the events lead.

    Raises:
        BadInput: as policy.infer.see.
    """
    answers, last = answers_of(events)
    choices, asked, parts = initial, 0, []
    for part, ask in _PARTS.items():
        asking = ask(world, choices)
        try:
            question = next(asking)
            parts.append(part)
            while True:
                answer = _good(question, answers.get(question.id))
                if answer is None:
                    again = _good(question, last.get(question.id))
                    shown = question if again is None else replace(question, default=again)
                    return Position(choices, shown, asked, tuple(parts))
                asked += 1
                question = asking.send(answer)
        except StopIteration as end:
            choices = end.value
    return Position(choices, None, asked, tuple(parts))


def _good(question: Question, answer: object) -> Answer | None:
    """The answer if it is one; after a change of earlier ones it may be none any more."""
    if answer is None:
        return None
    try:
        return check(question, answer)
    except BadInput:
        return None


def finished(world: World, initial: Choices, events: Sequence[Event]) -> Choices:
    """The choices when all that is left is answered with what is proposed."""
    done = list(events)
    while (question := position(world, initial, done).question) is not None:
        done.append(Event(Did.ANSWER, question.id, question.default))
    return position(world, initial, done).choices


def plain(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The events as JSON values."""
    result: list[dict[str, Any]] = []
    for one in events:
        words: dict[str, Any] = {"did": one.did.value}
        if one.did is not Did.UNDO:
            words["what"] = one.what
        if one.did is Did.ANSWER:
            words["answer"] = list(one.answer) if isinstance(one.answer, tuple) else one.answer
        result.append(words)
    return result


def from_plain(values: object) -> tuple[Event, ...]:
    """What :func:`plain` has made. Raises BadInput with everything that is not so."""
    if not isinstance(values, list):
        raise BadInput([Problem("events", "is no list")])
    found: list[Problem] = []
    events: list[Event] = []
    for number, value in enumerate(values):
        try:
            events.append(_event(value))
        except (KeyError, TypeError, ValueError):
            found.append(Problem(f"events[{number}]", "is none of the things that can be done"))
    if found:
        raise BadInput(found)
    return tuple(events)


def _event(value: Any) -> Event:
    did = Did(value["did"])
    if did is Did.UNDO:
        return Event(did)
    if did is Did.REOPEN:
        return Event(did, Part(value["what"]))
    what, answer = value["what"], value["answer"]
    texts = answer if isinstance(answer, list) else [answer]
    if not isinstance(what, str) or not all(isinstance(one, str) for one in texts):
        raise TypeError
    return Event(did, what, tuple(answer) if isinstance(answer, list) else answer)
