"""Programs whose calls are made on behalf: the deputies with the least around them, on a real listener."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from listened import Listened

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.behalf.deputies import Deputies, Impossible, Resolution
from scmm_oci.enforcer.monitor.memory import Reader, Unreadable
from scmm_oci.enforcer.monitor.model import Call
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

REFUSED = 126  # ENOKEY: no call here gives that of itself
Step = Callable[[Call, Resolution], Awaitable[str | None]]


@dataclass
class Served:
    """Makes the calls of one program.

    Attributes:
        decide: says of what was found whether the call is made; by default every call is.
        before: runs between that and the call.
        after: runs when the program has ended, and before its deputies must have.
        paths: what was found, call by call.
        impossible: what could not be done, and why.
    """

    deputies: Deputies
    reader: Reader
    decide: Callable[[Call, Resolution], bool] = lambda call, resolution: True
    before: Callable[[Resolution], None] = lambda resolution: None
    after: Callable[[], None] = lambda: None
    instead: str | None = None
    paths: list[tuple[str, ...]] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)

    async def one(self, fd: int, call: Notification) -> None:
        """Answer one call."""
        try:
            what = calls.decode(call)
            memory = await self.reader.read(fd, call, what)
            resolution = await self.deputies.resolve(fd, call, what, memory)
            try:
                self.paths.append(resolution.paths)
                if not resolution.error and not self.decide(what, resolution):
                    notify.refuse(fd, call.id, REFUSED)
                    return
                self.before(resolution)
                done = await resolution.perform(path=self.instead)
            finally:
                resolution.abandon()
            if done.error:
                notify.refuse(fd, call.id, done.error)
            elif done.fd is not None:
                try:
                    notify.hand_over(fd, call.id, done.fd, close_on_exec=done.close_on_exec)
                except OSError as error:
                    notify.refuse(fd, call.id, error.errno or 5)
                finally:
                    os.close(done.fd)
            else:
                notify.give(fd, call.id, done.value)
        except (Impossible, Unreadable) as error:
            self.impossible.append(f"{error}: {what.name} {memory.paths}")
            notify.refuse(fd, call.id, REFUSED)

    def all_of(self, it: Listened) -> None:
        """Answer until the program has ended, calls of several threads at the same time."""
        asyncio.run(self._all_of(it))

    async def _all_of(self, it: Listened) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        tasks: set[asyncio.Task[None]] = set()

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None and not ended.done():
                ended.set_exception(error)

        def readable() -> None:
            try:
                call = notify.receive(it.fd)
            except OSError:
                call = None
            if call is not None:
                task = loop.create_task(self.one(it.fd, call))
                tasks.add(task)
                task.add_done_callback(done)
            elif it.process.poll() is not None and not ended.done():
                ended.set_result(None)

        def gone() -> None:
            loop.remove_reader(handle)
            if not ended.done():
                ended.set_result(None)

        handle = os.pidfd_open(it.process.pid)
        loop.add_reader(it.fd, readable)
        loop.add_reader(handle, gone)
        try:
            async with asyncio.timeout(120):
                await ended
                loop.remove_reader(it.fd)
                await asyncio.gather(*tasks)
                self.after()
                await self.deputies.idle()
        finally:
            loop.remove_reader(it.fd)
            loop.remove_reader(handle)
            os.close(handle)


@contextmanager
def serving(**options: float) -> Iterator[Served]:
    """Deputies and a reader, ended afterwards."""
    deputies = Deputies(**options)  # type: ignore[arg-type]
    deputies.start()
    try:
        yield Served(deputies, Reader())
    finally:
        deputies.close()
