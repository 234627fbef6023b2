"""The parts of a monitor, made and checked first, then joined on one loop until a signal ends it.

Called by cli.monitoring.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from scmm_oci.cli.monitor_prompt import open_prompt
from scmm_oci.cli.monitor_wanted import Wanted, rules_of
from scmm_oci.cli.output import say
from scmm_oci.enforcer.monitor import calls, control, scraping
from scmm_oci.enforcer.monitor.asking import Asking
from scmm_oci.enforcer.monitor.behalf.deputies import Deputies
from scmm_oci.enforcer.monitor.considering import Considering
from scmm_oci.enforcer.monitor.journal import Journal
from scmm_oci.enforcer.monitor.learning import Learning
from scmm_oci.enforcer.monitor.learnt_file import LearntFile
from scmm_oci.enforcer.monitor.memory import Reader
from scmm_oci.enforcer.monitor.metrics import Metrics
from scmm_oci.enforcer.monitor.model import Target
from scmm_oci.enforcer.monitor.program import Program
from scmm_oci.enforcer.monitor.questions import Surface
from scmm_oci.enforcer.monitor.receiver import Receiver
from scmm_oci.enforcer.monitor.remembered import Remembered, default_path
from scmm_oci.enforcer.monitor.rules.decide import Rules
from scmm_oci.enforcer.monitor.rules.model import RuleSet, Settings
from scmm_oci.enforcer.monitor.served import Served
from scmm_oci.enforcer.monitor.serving import Options, Serving
from scmm_oci.enforcer.monitor.sockets import Listening, filters_of
from scmm_oci.enforcer.monitor.stuck import Unstuck
from scmm_oci.enforcer.monitor.unasked import unasked
from scmm_oci.errors import BadInput, Failure, Finding, Problem, ScmmError, printable
from scmm_oci.files import atomic_write, reason

_TEND_S = 0.2  # how often the log and the learnt file are looked after
_ENDS = (signal.SIGINT, signal.SIGTERM)


class Monitor:
    """The parts of a monitor that runs."""

    def __init__(self, wanted: Wanted, rules: RuleSet, place: tuple[str, int] | str | None, deputies: Deputies) -> None:
        """place: of the metrics, as scraping.parse has it; deputies: started."""
        self._wanted = wanted
        self._rules = rules
        self._place = place
        self._deputies = deputies
        self._since = time.time()
        self._counts = {"listeners": 0, "refused_connections": 0}
        self._prompt = None if wanted.no_prompt else open_prompt(self._numbers, time.monotonic)
        self._learning = Learning(now=time.time)
        self._metrics = Metrics(levels=self._levels)
        self._journal: Journal | None = None
        self._learnt: LearntFile | None = None
        self._serving: Serving | None = None
        self._asking: Asking | None = None
        self._over = asyncio.Event()
        self._failure = ""
        self._program: Program | None = None

    async def serve(self, listening: Listening, controlling: Listening) -> None:
        """Serve until a signal ends it. Raises BadInput and Failure: a part of it cannot be had."""
        wanted, settings = self._wanted, self._rules.settings
        self._heed_signals()  # first of all, as the socket is there to be seen already
        async with AsyncExitStack() as stack:
            if wanted.learn is not None:
                self._learnt = LearntFile(
                    wanted.learn, self._learning, arch=self._rules.arch, now=time.monotonic, tell=self._tell
                )
            if wanted.log is not None:
                self._journal = Journal(wanted.log, words=calls.words, now=time.time, tell=self._tell)
                stack.callback(self._journal.close)
            remembered = self._open_decisions()
            if remembered is not None:
                stack.callback(remembered.close)
            self._asking = Asking(settings.limits, settings.timeout, time.monotonic, await self._surfaces())
            stack.callback(self._asking.close)
            program = self._program = await self._start_program(settings)
            if program is not None:
                stack.push_async_callback(program.close)
            with startable():
                unstuck = Unstuck()
            stack.callback(unstuck.close)
            self._serving = Serving(
                options=self._options(self._rules),
                considering=Considering(
                    reader=Reader(),
                    deputies=self._deputies,
                    asking=self._asking,
                    program=program,
                    remembered=remembered,
                    tell=self._tell,
                    now=time.monotonic,
                    timeout_s=settings.timeout,
                ),
                sinks=self._sinks(),
                tell=self._say,
                clock=time.time,
                now=time.monotonic,
                unstuck=unstuck,
            )
            stack.push_async_callback(self._serving.finish)
            receiver = Receiver(
                listening, on_listener=self._take, on_refused=self._refused, filtered=wanted.filtered_peers
            )
            stack.callback(receiver.close)
            answering = control.Control(controlling, self._status)
            await answering.start()
            stack.push_async_callback(answering.close)
            if self._place is not None:
                scraper = scraping.Scraping(self._metrics)
                where = await scraper.start(self._place)
                stack.push_async_callback(scraper.close)
                self._say(f"metrics: {where if isinstance(where, str) else f'http://{where[0]}:{where[1]}/metrics'}")
            if wanted.pid_file is not None:
                atomic_write(wanted.pid_file, f"{os.getpid()}\n".encode())
                stack.callback(_remove, wanted.pid_file)
            self._findings(self._rules.findings)
            if not wanted.filtered_peers and (own := filters_of("self")):
                self._tell(
                    f"note: under {own} seccomp filters itself, it listens to whoever is under as many, also others"
                )
            self._say(f"listening at {listening.path}")
            await self._tend()
        self._finish()

    async def _tend(self) -> None:
        while not self._over.is_set():
            try:
                async with asyncio.timeout(_TEND_S):
                    await self._over.wait()
            except TimeoutError:
                pass
            try:
                if self._journal is not None:
                    self._journal.flush()
                if self._learnt is not None:
                    await self._learnt.tend()
            except Exception as error:
                # A defect. Calls that would have no answer for it are the worse one.
                self._tell_other(f"{type(error).__name__}: {error}")

    def _tell_other(self, failure: str) -> None:
        """Tell of a failure, unless it is the one that was told before: it comes each time."""
        if failure != self._failure:
            self._failure = failure
            self._tell(failure)

    def _finish(self) -> None:
        if self._learnt is not None:
            self._findings(self._learnt.finish())
            self._findings(unasked(self._rules.rules, self._learnt.allowed))
            self._say(f"{self._wanted.learn}: what {len(self._learning.calls)} calls were made with")

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self._over.set)
        loop.add_signal_handler(signal.SIGHUP, self._again)

    def _again(self) -> None:
        """SIGHUP: the rules anew, if all is right with them, and the log opened again."""
        if self._journal is not None:
            self._journal.reopen()
        if self._wanted.rules is None or self._serving is None:
            return
        try:
            rules = self._read_again()
        except ScmmError as error:
            for line in str(error).splitlines():
                self._tell(f"error: {line}")
            self._tell("the rules stay as they were")
            return
        assert self._asking is not None
        self._rules = rules
        self._serving.options = self._options(rules)
        self._serving.considering.timeout_s = self._asking.timeout_s = rules.settings.timeout
        self._asking.limits = rules.settings.limits
        if self._program is not None:
            self._program.timeout_s = rules.settings.timeout
        self._findings(rules.findings)
        self._say(f"{self._wanted.rules}: read anew")

    def _read_again(self) -> RuleSet:
        """Raises BadInput: the file is wrong, or says what only a new start can bring."""
        rules = rules_of(self._wanted)
        if rules.settings.program != self._rules.settings.program:
            hint = "start the monitor again for that"
            raise BadInput([Problem(f"{self._wanted.rules}: .program", "is another than the one that runs", hint)])
        return rules

    def _options(self, rules: RuleSet) -> Options:
        watches = self._wanted.log is not None or self._wanted.learn is not None
        return Options(Rules(rules), learns=self._wanted.learn is not None, watches=watches)

    def _sinks(self) -> tuple[Callable[[Any], None], ...]:
        sinks: list[Callable[[Any], None]] = [self._metrics.count]
        if self._journal is not None:
            sinks.append(self._journal.write)
        if self._wanted.learn is not None:
            sinks.append(self._learning.add)
        return tuple(sinks)

    def _open_decisions(self) -> Remembered | None:
        path = self._wanted.decisions or default_path()
        try:
            return Remembered(path, now=time.time)
        except ScmmError as error:
            if self._wanted.decisions is not None:
                raise
            self._tell(f"answers hold for this run only: {error}")
            return None

    async def _surfaces(self) -> list[Surface]:
        if self._wanted.no_prompt:
            return []
        from scmm_oci.enforcer.monitor.desktop import open_desktop

        desktop = await open_desktop(tell=self._tell)
        return [each for each in (self._prompt, desktop) if each is not None]

    async def _start_program(self, settings: Settings) -> Program | None:
        if not settings.program:
            return None
        program = Program(settings.program, timeout_s=settings.timeout, now=time.monotonic, tell=self._tell)
        await program.start()
        return program

    def _take(self, fd: int, target: Target, most_filters: int | None) -> None:
        assert self._serving is not None
        self._counts["listeners"] += 1
        self._serving.take(fd, target, most_filters)

    def _refused(self, why: str) -> None:
        self._counts["refused_connections"] += 1
        self._tell(why)

    def _findings(self, findings: Iterable[Finding]) -> None:
        for each in findings:
            self._tell(f"note: {each}")

    def _say(self, line: str) -> None:
        if not self._wanted.quiet:
            self._tell(line)

    def _tell(self, line: str) -> None:
        text = f"scmm-monitor: {printable(line)}"
        if self._prompt is not None and self._prompt.is_open:
            self._prompt.tell(text)
        else:
            _say_or_not(text)

    def _served(self) -> list[Served]:
        return list(self._serving.served.values()) if self._serving is not None else []

    def _numbers(self) -> tuple[int, int]:
        return len(self._served()), sum(self._metrics.decisions.values())

    def _levels(self) -> dict[str, float]:
        waiting = self._serving.waiting if self._serving is not None else 0
        gone = self._serving.gone if self._serving is not None else 0
        return {
            **self._counts,
            "gone": gone,
            "targets": len(self._served()),
            "waiting": waiting,
            "questions": self._asking.pending if self._asking is not None else 0,
            "learnt_calls": len(self._learning.calls),
            "log_lost": self._journal.lost if self._journal is not None else 0,
        }

    def _status(self) -> dict[str, Any]:
        levels = self._levels()
        return control.document(
            since=self._since,
            now=time.time(),
            targets=[control.status_of(one) for one in self._served()],
            questions=int(levels["questions"]),
            totals=self._metrics.totals(),
            learnt=_absolute(self._wanted.learn),
            learnt_calls=int(levels["learnt_calls"]),
            log=_absolute(self._wanted.log),
            log_lost=int(levels["log_lost"]),
        )


def _absolute(path: str | None) -> str | None:
    """As somebody in another directory would have to name it."""
    return os.path.normpath(Path.cwd() / path) if path is not None else None


def _say_or_not(line: str) -> None:
    """Standard error may be closed, full or a terminal that has gone: that is no reason to end."""
    with suppress(OSError, ValueError):
        say(line)


def _remove(path: str) -> None:
    with suppress(OSError):
        Path(path).unlink()


@contextmanager
def startable() -> Iterator[None]:
    """Raises Failure where there can be no more processes or threads."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        message = f"a helper of the monitor cannot be started: {reason(error)}"
        raise Failure(message, "too many processes or threads run") from error
