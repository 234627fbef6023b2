"""The queue of questions: one is up, the others wait, and all are answered in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asked import Clock, Limits, Seen, process, question, target
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor.asking import Asking
from scmm_oci.enforcer.monitor.model import By
from scmm_oci.enforcer.monitor.questions import Answer, Question, Reply


class Scene:
    """Somebody who asks, with a clock of the test's."""

    def __init__(self, *surfaces: Seen, **limits: int) -> None:
        self.clock = Clock()
        self.surfaces = surfaces or (Seen(),)
        self.asking = Asking(Limits(**limits), 30.0, self.clock, self.surfaces)
        self.seen = self.surfaces[0]

    async def begin(self, *changes: Question) -> list[asyncio.Task[Reply]]:
        tasks = [asyncio.create_task(self.asking.ask(one)) for one in changes]
        await settle()
        return tasks

    def reply(self, answer: Answer) -> bool:
        assert self.seen.shown is not None
        return self.seen.shown.reply(answer)

    def up(self) -> object:
        return None if self.seen.shown is None else self.seen.shown.question.key


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def run(scene: Callable[[], Awaitable[Any]]) -> None:
    async def whole() -> None:
        await scene()

    asyncio.run(whole())


@pytest.mark.parametrize("answer", list(Answer))
def test_an_answer_is_handed_back_and_nothing_stays_up(answer: Answer) -> None:
    async def scene() -> None:
        s = Scene()
        (task,) = await s.begin(question())
        assert s.up() == "openat" and not task.done() and s.asking.pending == 1
        assert s.reply(answer)
        assert await task == Reply(answer, By.PERSON)
        assert s.seen.history[-1] is None and s.asking.pending == 0

    run(scene)


def test_one_question_is_up_and_the_others_are_counted() -> None:
    async def scene() -> None:
        s = Scene()
        tasks = await s.begin(question("a"), question("b"), question("c"))
        assert s.seen.shown is not None and (s.up(), s.seen.shown.more) == ("a", 2)
        s.reply(Answer.ONCE)
        assert s.seen.shown is not None and (s.up(), s.seen.shown.more) == ("b", 1)
        s.reply(Answer.DENY)
        s.reply(Answer.RUN)
        assert [(await task).answer for task in tasks] == [Answer.ONCE, Answer.DENY, Answer.RUN]

    run(scene)


@pytest.mark.parametrize("answer", [Answer.ALWAYS, Answer.RUN, Answer.DENY, Answer.NEVER])
def test_equal_keys_are_one_question_with_one_answer(answer: Answer) -> None:
    async def scene() -> None:
        s = Scene()
        tasks = await s.begin(*(question(process=process(pid)) for pid in (1, 2, 3)), question("other"))
        assert s.seen.shown is not None and (s.seen.shown.waiting, s.seen.shown.more) == (2, 1)
        s.reply(answer)
        assert [(await task).answer for task in tasks[:3]] == [answer] * 3
        # Control: another key was not answered with it.
        assert not tasks[3].done() and s.up() == "other"
        s.asking.close()

    run(scene)


def test_once_is_for_the_call_that_is_shown() -> None:
    async def scene() -> None:
        s = Scene()
        tasks = await s.begin(*(question(process=process(pid)) for pid in (1, 2)))
        first = s.seen.shown
        assert first is not None and first.question.process == process(1)
        s.reply(Answer.ONCE)
        await settle()
        assert tasks[0].done() and not tasks[1].done()
        second = s.seen.shown
        assert second is not None and second.question.process == process(2)
        assert second.number != first.number and second.times == 1
        # The first one's keys do not answer the second.
        assert not first.reply(Answer.ALWAYS) and not tasks[1].done()
        s.asking.close()

    run(scene)


def test_kill_is_for_the_process_that_is_shown() -> None:
    async def scene() -> None:
        s = Scene()
        same, thread, other = await s.begin(
            question(process=process(1)), question(process=process(1, tid=9)), question(process=process(2))
        )
        (elsewhere,) = await s.begin(question("else", process=process(1)))
        (unknown,) = await s.begin(question("unknown", process=None))
        s.reply(Answer.KILL)
        await settle()
        assert [task.done() for task in (same, thread, other, elsewhere, unknown)] == [True, True, False, True, False]
        assert elsewhere.result() == Reply(Answer.KILL, By.PERSON)
        assert s.seen.shown is not None and s.seen.shown.question.process == process(2)
        s.asking.close()

    run(scene)


def test_a_process_of_another_target_with_the_same_number_is_another() -> None:
    async def scene() -> None:
        s = Scene()
        one, other = await s.begin(question("a"), question("b", target=target("db-1")))
        s.reply(Answer.KILL)
        await settle()
        assert one.done() and not other.done()
        s.asking.close()

    run(scene)


def test_time_over_is_no_answer_and_the_next_comes_up() -> None:
    async def scene() -> None:
        s = Scene()
        early, late = await s.begin(question("a"), question("b", deadline=1040.0))
        s.clock.at = 1029.9
        s.asking.tick()
        assert s.up() == "a"
        s.clock.at = 1030.0
        # Whoever presses a key now is late, whether the timer has been there or not.
        assert not s.reply(Answer.ALWAYS)
        s.asking.tick()
        assert await early == Reply(None, By.TIMEOUT, "nobody answered in time")
        assert s.up() == "b" and not late.done()
        assert s.reply(Answer.ONCE)
        assert (await late).answer is Answer.ONCE

    run(scene)


def test_the_timer_needs_nobody_to_call_it() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        seen = Seen()
        asking = Asking(Limits(), 0.05, loop.time, [seen])
        reply = await asyncio.wait_for(asking.ask(question(deadline=loop.time() + 0.05)), 30)
        assert reply.by is By.TIMEOUT and seen.history[-1] is None

    run(scene)


def test_a_call_that_is_gone_is_taken_off() -> None:
    async def scene() -> None:
        s = Scene()
        waits = [True]
        gone, stays = await s.begin(
            question("a", waits=lambda: waits[0]), question("b", waits=lambda: True, process=process(2))
        )
        s.asking.tick()
        assert s.up() == "a"
        waits[0] = False
        assert not s.reply(Answer.ALWAYS)
        s.asking.tick()
        assert await gone == Reply(None, By.FAILURE, "the call is gone")
        assert s.up() == "b" and not stays.done()
        s.asking.close()

    run(scene)


def test_whoever_gives_up_takes_the_question_away() -> None:
    async def scene() -> None:
        s = Scene()
        first, second = await s.begin(question(process=process(1)), question(process=process(2)))
        number = s.seen.shown and s.seen.shown.number
        first.cancel()
        await settle()
        # The other call is what is up now, and as another one.
        assert s.seen.shown is not None and s.seen.shown.question.process == process(2)
        assert s.seen.shown.number != number
        second.cancel()
        await settle()
        assert s.seen.shown is None and s.asking.pending == 0

    run(scene)


def test_with_nobody_there_nothing_waits() -> None:
    async def scene() -> None:
        s = Scene(Seen(is_open=False))
        assert await s.asking.ask(question()) == Reply(None, By.NOBODY, "there is nobody to ask")
        assert s.seen.history == []
        # Control.
        s.seen.open(True)
        (task,) = await s.begin(question())
        assert not task.done()
        s.seen.open(False)
        assert await task == Reply(None, By.NOBODY, "there is nobody left to ask")

    run(scene)


def test_the_first_of_several_surfaces_answers() -> None:
    async def scene() -> None:
        s = Scene(Seen(), Seen())
        one, other = s.surfaces
        (task,) = await s.begin(question())
        assert one.shown is not None and one.shown == other.shown
        late = one.shown
        assert other.shown is not None and other.shown.reply(Answer.DENY)
        assert not late.reply(Answer.ALWAYS)
        assert (await task).answer is Answer.DENY
        assert one.shown is None and other.shown is None
        # One of them goes: the other is enough.
        (task,) = await s.begin(question())
        one.open(False)
        assert not task.done()
        # What comes back is told what is up.
        one.shown = None
        one.open(True)
        assert one.shown is not None and one.shown.question == question()
        s.asking.close()
        assert (await task).by is By.NOBODY
        assert one.is_closed and other.is_closed

    run(scene)


def test_what_is_no_choice_is_no_answer() -> None:
    async def scene() -> None:
        s = Scene()
        (task,) = await s.begin(question(choices=frozenset({Answer.ONCE, Answer.DENY})))
        assert not s.reply(Answer.ALWAYS)
        await settle()
        assert not task.done()
        assert s.reply(Answer.ONCE)
        assert (await task).answer is Answer.ONCE

    run(scene)


@pytest.mark.parametrize(
    ("limits", "keys", "targets", "asked", "why"),
    [
        ({"pending": 3}, "abcde", "vwxyz", 3, "3 questions wait"),
        ({"per_target": 2}, "abcde", "vvvvv", 2, "2 questions of this target wait"),
        ({"per_target": 2}, "abcde", "vwxyz", 5, ""),
        ({"per_minute": 4}, "abcde", "vvvvv", 4, "4 questions of this target in a minute"),
        ({"per_minute": 4}, "abcde", "vwxyz", 5, ""),
    ],
)
def test_more_than_a_person_can_take_is_not_asked(
    limits: dict[str, int], keys: str, targets: str, asked: int, why: str
) -> None:
    async def scene() -> None:
        s = Scene(**limits)
        tasks = await s.begin(
            *(question(key, target=target(name)) for key, name in zip(keys, targets, strict=True)),
        )
        assert [task.done() for task in tasks] == [number >= asked for number in range(5)]
        for task in tasks[asked:]:
            assert task.result() == Reply(None, By.OVERLOAD, why)
        s.asking.close()

    run(scene)


def test_a_minute_later_it_may_ask_again() -> None:
    async def scene() -> None:
        s = Scene(per_minute=1)
        for at, asked in ((1000.0, True), (1030.0, False), (1059.9, False), (1060.0, True)):
            s.clock.at = at
            (task,) = await s.begin(question(deadline=at + 30))
            assert task.done() is not asked
            if asked:
                assert s.reply(Answer.ONCE)
            await task

    run(scene)


def test_calls_with_one_question_are_bounded() -> None:
    async def scene() -> None:
        s = Scene()
        tasks = await s.begin(*(question() for _ in range(65)))
        assert [task.done() for task in tasks] == [False] * 64 + [True]
        assert tasks[64].result().by is By.OVERLOAD
        s.asking.close()

    run(scene)


def test_targets_take_turns() -> None:
    async def scene() -> None:
        s = Scene()
        await s.begin(*(question(f"flood {number}") for number in range(8)))
        await s.begin(question("one", target=target("db-1"), process=process(2)))
        order = []
        while s.seen.shown is not None:
            order.append(s.up())
            s.reply(Answer.ONCE)
        assert order == ["flood 0", "one", *(f"flood {number}" for number in range(1, 8))]

    run(scene)


def test_how_often_it_was_asked_before() -> None:
    async def scene() -> None:
        s = Scene()
        for before in range(3):
            await s.begin(question())
            assert s.seen.shown is not None and s.seen.shown.times == before
            s.reply(Answer.DENY)
        await s.begin(question("other", times=5))
        assert s.seen.shown is not None and s.seen.shown.times == 5
        s.asking.close()

    run(scene)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(0, 2)),
        st.tuples(st.just("answer"), st.sampled_from(list(Answer)), st.just(0)),
        st.tuples(st.just("later"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("open"), st.booleans(), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
    ),
    max_size=30,
)


@given(_STEPS)
def test_whatever_happens_every_call_is_answered_and_the_screen_tells_the_truth(steps: list[tuple[Any, ...]]) -> None:
    async def scene() -> None:
        s = Scene(pending=3, per_target=2)
        tasks: list[asyncio.Task[Reply]] = []
        for word, first, second in steps:
            if word == "ask":
                one = question(first, target=target(str(second)), process=process(first), deadline=s.clock.at + 30)
                tasks += await s.begin(one)
            elif word == "answer" and s.seen.shown is not None:
                assert s.reply(first)
            elif word == "later":
                s.clock.at += first
                s.asking.tick()
            elif word == "open":
                s.seen.open(first)
            elif word == "cancel" and first < len(tasks):
                tasks[first].cancel()
            await settle()
            waiting = sum(not task.done() for task in tasks)
            shown = s.seen.shown
            # Something is up exactly when somebody waits, and what is up is one of them, in time.
            assert (shown is not None) == (waiting > 0)
            if shown is not None:
                assert s.seen.is_open and shown.question.deadline > s.clock.at
                assert s.asking.pending == shown.more + 1 <= 3
        s.asking.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.done() for task in tasks) and s.asking.pending == 0

    run(scene)
