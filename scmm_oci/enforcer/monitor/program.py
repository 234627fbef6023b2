"""A program that decides: questions as lines of JSON on its stdin, answers as lines of JSON on its stdout.

docs/monitor.md, "A program that decides", has the protocol. Whatever the program does, or fails to do, the question is
answered: what is not decided in time and in form is denied.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from typing import Any

from scmm_oci import quickjson
from scmm_oci.enforcer.monitor.model import By, Decision, Verdict
from scmm_oci.enforcer.monitor.program_answers import BadAnswer, decision_of, parse
from scmm_oci.enforcer.monitor.program_running import MAX_LINE, Running, ended, start
from scmm_oci.files import reason

MOST_WAITING = 256
_MAX_UNREAD = 1 << 20  # bytes of questions that the program has not read
_FIRST_S, _LONGEST_S = 0.1, 30.0  # until it is started again
_TOLD_S = 5.0  # wrong answers are told so often at most


class Program:
    """A program that is running, or about to.

    Attributes:
        restarts: how often it had to be started again.
        timeout_s: how long a question waits for its answer; may be another from now on.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        now: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        """
        Args:
            argv: the program, and its arguments; no shell sees them.
            timeout_s: the attribute.
            now: seconds of a clock that only goes on.
            tell: gets why it had to be started again, and what was wrong with an answer.
        """
        self.restarts = 0
        self._argv = tuple(argv)
        self.timeout_s = timeout_s
        self._now = now
        self._tell = tell
        self._running: Running | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._waiting: dict[int, tuple[asyncio.Future[Decision], int]] = {}
        self._id = 0
        self._delay_s = _FIRST_S
        self._not_before = now()
        self._quiet_until = now()
        self._closed = False

    async def start(self) -> None:
        """Start the program now, and not with the first question; a failure is told."""
        await self._run()

    async def decide(self, question: dict[str, Any], *, number: int = errno.EPERM) -> Decision:
        """What the program says to a question; denied where it says nothing in time.

        Args:
            question: plain values; gets an ``id``.
            number: the errno of a denial that names none.
        """
        if len(self._waiting) >= MOST_WAITING:
            return _denied(By.OVERLOAD, "too many questions wait for the program", number)
        self._id += 1
        mine = self._id
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting[mine] = answer, number
        try:
            async with asyncio.timeout(self.timeout_s):
                if not await self._run():
                    return _denied(By.FAILURE, "the program that decides is not running", number)
                assert self._running is not None
                if self._running.is_deaf:
                    return _denied(By.FAILURE, "the program that decides has closed its stdin", number)
                if self._running.unread > _MAX_UNREAD:
                    return _denied(By.OVERLOAD, "the program does not read its questions", number)
                self._running.write(quickjson.dumps({**question, "id": mine, "errno": number}))
                return await answer
        except TimeoutError:
            return _denied(By.TIMEOUT, "the program did not answer in time", number)
        finally:
            self._waiting.pop(mine, None)

    async def close(self) -> None:
        """End the program: its stdin is closed, then it gets SIGTERM, then SIGKILL. What waits is denied."""
        self._closed = True
        if self._starting is not None:
            await self._starting
        if self._running is not None:
            await self._running.end()
        if self._reading is not None:
            await self._reading

    async def _run(self) -> bool:
        """Whether the program runs; starts it where it may be started again."""
        if self._running is None and self._starting is None and not self._closed and self._now() >= self._not_before:
            self._starting = asyncio.get_running_loop().create_task(self._begin())
        if self._starting is not None:
            # Whoever waits for it may give up; who comes next still wants it.
            await asyncio.shield(self._starting)
        return self._running is not None

    async def _begin(self) -> None:
        try:
            running = await start(self._argv)
        except (OSError, ValueError, RuntimeError) as error:  # no process or thread is to be had
            self._later(f"cannot be started: {reason(error)}")
        else:
            self._running = running
            self._reading = asyncio.get_running_loop().create_task(self._read(running))
        finally:
            self._starting = None

    def _later(self, why: str) -> None:
        self._not_before = self._now() + self._delay_s
        self._tell(f"the program that decides, {self._argv[0]}, {why}; its questions are denied until it runs again")
        self._delay_s = min(2 * self._delay_s, _LONGEST_S)

    async def _read(self, running: Running) -> None:
        why = ""
        try:
            async for line in running.lines():
                self._answered(line)
        except ValueError:
            why = f"wrote a line of more than {MAX_LINE} bytes"
        except OSError as error:
            why = f"cannot be heard: {reason(error)}"
        # Without its stdout there will be no answer.
        code = await running.end(now=not self._closed)
        self._running = None
        for answer, number in self._waiting.values():
            if not answer.done():
                answer.set_result(_denied(By.FAILURE, "the program that decides has ended", number))
        if not self._closed:
            self.restarts += 1
            self._later(why or ended(code))

    def _answered(self, line: bytes) -> None:
        try:
            mine, document = parse(line)
        except BadAnswer as error:
            self._complain(f"wrote what is no answer: {error}")
            return
        answer, number = self._waiting.get(mine, (None, errno.EPERM))
        if answer is None or answer.done():
            return  # it was too late
        try:
            decision = decision_of(document, number=number)
            self._delay_s = _FIRST_S
        except BadAnswer as error:
            decision = _denied(By.FAILURE, "the program's answer is none", number)
            self._complain(f"answered wrongly, which denies: {error}")
        answer.set_result(decision)

    def _complain(self, what: str) -> None:
        """Tell of an answer, unless that was done just now: a program can be wrong each time."""
        if self._now() >= self._quiet_until:
            self._quiet_until = self._now() + _TOLD_S
            self._tell(f"the program that decides, {self._argv[0]}, {what}")


def _denied(by: By, why: str, number: int) -> Decision:
    return Decision(Verdict.DENY, by, number, detail=why)
