"""The interview's part about the order of calls: asked where it is wished for, and nothing is taken unasked."""

import pytest
from interviewed import rich
from servers import server

from scmm_oci.cli.interview.course import Did, Event, position
from scmm_oci.cli.interview.questions import check
from scmm_oci.cli.interview.world import World
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.model import WatchAction

WORLD = World([server("a"), server("b"), server("c", more=["write close"])])
WISHED = Choices(Decisions(transitions=True))


def went(answers=None, *, world=WORLD, initial=WISHED):
    """The questions of the part, by id, and the choices at the end."""
    answers, events, asked = answers or {}, [], {}
    while (question := position(world, initial, events).question) is not None:
        if question.id.startswith("order/"):
            asked[question.id.partition("/")[2]] = question
        answer = answers.get(question.id.removeprefix("order/"), question.default)
        events.append(Event(Did.ANSWER, question.id, check(question, answer)))
    assert answers.keys() <= asked.keys()
    return asked, position(world, initial, events).choices


def test_it_is_asked_only_with_transitions():
    assert went(initial=Choices()) == ({}, Choices())
    asked, choices = went()
    assert list(asked) == ["refine", "depth", "serving", "watch", "likely"] and choices == WISHED


def test_what_captures_do_not_hold_is_not_asked_about():
    asked, choices = went(world=World([rich()]))
    assert list(asked) == ["refine", "watch"] and choices == WISHED
    assert list(went(world=World([server("a", deep=False)]))[0]) == ["refine", "serving", "watch", "likely"]


@pytest.mark.parametrize(
    "decided",
    [
        Decisions(transitions=True, refine=True, depth=3, serving_from=("listen",), watch=WatchAction.KILL, likely=2),
        Decisions(transitions=True, serving_from=("accept4", "listen"), watch=WatchAction.COUNT, likely=77),
    ],
)
def test_it_begins_with_what_flags_say(decided):
    assert went(initial=Choices(decided))[1] == Choices(decided)


def test_answers_are_choices():
    answers = {"refine": "classes", "depth": "3", "serving": "accept4", "watch": "freeze", "likely": "3"}
    wanted = Decisions(
        transitions=True, refine=True, depth=3, serving_from=("accept4",), watch=WatchAction.FREEZE, likely=3
    )
    assert went(answers)[1] == Choices(wanted)
    back = {"refine": "calls", "depth": "2", "serving": "none", "watch": "none", "likely": "0"}
    assert went(back, initial=Choices(wanted))[1] == WISHED


def test_likely_steps_are_shown_with_what_speaks_for_them():
    asked, choices = went()
    none, *others = asked["likely"].options
    assert (none.key, none.preview, asked["likely"].default) == ("0", (), "0")
    three = next(one for one in others if one.key == "3")
    assert any(line.startswith("recvfrom > getpid: read > getpid is in 3 of the recordings") for line in three.preview)
    assert not [one for one in WORLD.infer(choices).policy.transitions if one.call == "recvfrom" and "getpid" in one.to]
    taken = WORLD.infer(went({"likely": "3"})[1]).policy.transitions
    assert [one for one in taken if one.call == "recvfrom" and "getpid" in one.to]


def test_the_estimate_stands_where_the_action_is_chosen():
    (line,) = went()[0]["watch"].lines
    assert line.startswith("1 of the next 3 recordings is expected to show an order not seen yet")
