"""The log, read: from its sources to the denials that are asked for, now and as they come.

What is left out is counted: denials of others, those of which nobody knows whose they are, and what was lost.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Collection, Iterable, Iterator
from types import TracebackType
from typing import Self

from scmm_oci.enforcer.logs import sources
from scmm_oci.enforcer.logs.decode import Decoder, Denial
from scmm_oci.enforcer.logs.events import Events
from scmm_oci.enforcer.logs.forks import Forks
from scmm_oci.enforcer.logs.records import LANDLOCK_DOMAIN, Record
from scmm_oci.enforcer.logs.sources import Kmsg, Listener, Lost
from scmm_oci.enforcer.logs.whose import Asked, Judge, Whose, boot
from scmm_oci.errors import BadInput, Failure, Finding

_LOOK_AGAIN_S = 1.0  # for processes that were started
# The kernel's own thread sends records on; it does so at once, unless the machine is busy.
_QUIET_S = 0.3
_LAST_S = 3.0
_ROOT = "run it as root"


class Reading:
    """Reads the log; use as a context manager.

    Args:
        file: this one is read, instead of the kernel's and the audit log.
        follow: listen to what comes, too.
        until: with `follow`: the processes after whose end nothing comes any more; none: there is no end.

    Attributes:
        findings: what to know of the sources.
        others, unknown: denials that were left out: of other processes, and of who knows whom.

    Raises:
        Failure: there is nothing that can be read. BadInput: the file cannot be read.
    """

    def __init__(
        self, asked: Asked, *, file: str | None = None, follow: bool = False, until: Collection[int] = ()
    ) -> None:
        self.findings: list[Finding] = []
        self.lost = Lost()
        self.events = Events()
        self.others = 0
        self.unknown = 0
        self._overrun = False
        self._asked = asked
        self._file = file
        self._decoder = Decoder()
        self._follow = follow
        self._files = [file] if file is not None else sources.audit_logs()
        self._unread: list[str] = []
        self._open: list[Kmsg | Listener] = []
        self._forks: Forks | None = None
        self._bounded = bool(until)
        self._pidfds = list(_descriptors(until)) if follow else []
        try:
            if follow and (asked.pids or asked.container is not None):
                self._forks = self._listen_to_forks()
            self.judge = Judge(asked, self._forks, here=file is None)
            if follow:
                self._listen()
            if file is None:
                self._open_kernel_log()
        except BaseException:
            self.close()
            raise

    @property
    def forks_overrun(self) -> bool:
        """Whether processes were started that nobody told us of."""
        return self._overrun or (self._forks is not None and self._forks.overrun > 0)

    @property
    def malformed(self) -> int:
        """How many records could not be read."""
        return self.lost.malformed + self._decoder.unknown

    def now(self) -> Iterator[Denial]:
        """What the log has, from its beginning, and then what has come since the last time."""
        files, self._files = self._files, []
        for path in files:
            try:
                yield from self._denials(sources.text_file(path, self.lost))
            except BadInput as error:
                if self._file is not None:
                    raise
                self._unread.append(str(error))
                self.findings.append(Finding("audit-log", f"the audit log is left out: {error}", _ROOT))
        if not self._open and files and len(self._unread) == len(files):
            raise Failure(f"neither the kernel's log nor the audit log can be read: {self._unread[-1]}", _ROOT)
        for source in self._open:
            yield from self._denials(source.read())
        # Whose something was is asked only when all of them have been read: another may say it.
        yield from self._judged(self._decoder.flush(more=self._follow))

    def coming(self, stop: int) -> Iterator[Denial]:
        """What comes, until the descriptor `stop` can be read or the processes have ended."""
        yield from self._until(stop)
        yield from self._judged(self._decoder.flush())

    def _until(self, stop: int) -> Iterator[Denial]:
        look = 0.0
        ends = time.monotonic() + _LAST_S
        last = self._bounded and not self._pidfds
        while not last:
            forks = [] if self._forks is None else [self._forks.descriptor]
            ready = self._wait([stop, *self._pidfds, *forks], _LOOK_AGAIN_S)
            self.judge.listen()
            # Looking at all processes is dear, and there may be thousands of events in a second.
            if time.monotonic() >= look:
                self.judge.refresh()
                look = time.monotonic() + _LOOK_AGAIN_S
            yield from self.now()
            if stop in ready:
                return
            for descriptor in set(self._pidfds) & ready:
                self._pidfds.remove(descriptor)
                os.close(descriptor)
                last = not self._pidfds
            ends = time.monotonic() + _LAST_S
        while self._wait([stop], _QUIET_S) and time.monotonic() < ends:
            yield from self.now()

    def _wait(self, descriptors: Collection[int], patience_s: float) -> set[int]:
        poll = select.poll()
        for descriptor in [*descriptors, *(source.descriptor for source in self._open)]:
            poll.register(descriptor, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(patience_s * 1000)}

    def _denials(self, records: Iterable[Record]) -> Iterator[Denial]:
        for record in records:
            # Whose domain it is may have been said before.
            if record.at < self._asked.since and record.type != LANDLOCK_DOMAIN:
                continue
            if self.events.take(record):
                yield from self._judged(self._decoder.feed(record))

    def _judged(self, denials: Iterable[Denial]) -> Iterator[Denial]:
        for denial in denials:
            match self.judge.judge(denial):
                case Whose.OURS:
                    yield denial
                case Whose.OTHERS:
                    self.others += 1
                case Whose.UNKNOWN:
                    self.unknown += 1

    def _listen(self) -> None:
        try:
            self._open.append(Listener(self.lost))
        except OSError as error:
            self.findings.append(
                Finding(
                    "not-listening",
                    f"the kernel does not send us its records ({error.strerror}): its log is followed, "
                    "which lacks some when there are many",
                    "run it as root (CAP_AUDIT_READ), outside of containers",
                )
            )

    def _listen_to_forks(self) -> Forks | None:
        try:
            return Forks()
        except OSError as error:
            message = (
                f"the kernel does not tell us of new processes ({error.strerror}): those that end soon are not known"
            )
            self.findings.append(Finding("no-forks", message, "run it as root (CAP_NET_ADMIN), outside of containers"))
            return None

    def _open_kernel_log(self) -> None:
        try:
            self._open.append(Kmsg(self.lost, boot=boot(), since=self._asked.since))
        except Failure as error:
            if not self._files and not self._open:
                raise
            self.findings.append(Finding("kernel-log", f"{error.message}, and is left out", error.hint))

    def close(self) -> None:
        """Give all descriptors back."""
        for source in self._open:
            source.close()
        for descriptor in self._pidfds:
            os.close(descriptor)
        if self._forks is not None:
            self._overrun = self.forks_overrun
            self._forks.close()
            self._forks = None
        self._open, self._pidfds = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _descriptors(pids: Iterable[int]) -> Iterator[int]:
    for pid in pids:
        try:
            yield os.pidfd_open(pid)
        except OSError:
            continue  # it has ended, or is a thread; it has no end that we could see
