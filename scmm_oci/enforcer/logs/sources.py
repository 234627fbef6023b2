"""Where audit records are read: the kernel's log, the audit log's files, and what the kernel sends to who listens.

Each gives records as they come and counts what it could not read. The listener (the multicast group of audit(8)'s
netlink, for CAP_AUDIT_READ) has all of them; the kernel's log is a ring, and few are printed when there are many.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from scmm_oci.enforcer.logs import records
from scmm_oci.enforcer.logs.records import Malformed, Record
from scmm_oci.errors import BadInput, Failure, Problem

KMSG = "/dev/kmsg"
AUDIT_LOG = "/var/log/audit/audit.log"

_NETLINK_AUDIT = 9  # linux/netlink.h
_READLOG = 1  # AUDIT_NLGRP_READLOG, as the mask that bind(2) takes
_GET = 1000  # AUDIT_GET
_REQUEST = 1  # NLM_F_REQUEST
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_MOST_AT_ONCE = 4096
_MOST_ROTATED = 99


@dataclass
class Lost:
    """What did not come through.

    Attributes:
        suppressed: messages that the kernel says it kept to itself, audit records or others.
        overwritten: messages of the kernel's log that were gone while it was read.
        before: messages that stood before those that the kernel's log still has, and `begins`: when it begins, in
            milliseconds since 1970.
        overrun: how often the kernel had more for us than it could keep.
        malformed: lines that begin like records and are none.
        given_up: records that the audit system has given up since the kernel started, as it says itself.
    """

    suppressed: int = 0
    overwritten: int = 0
    before: int = 0
    begins: int = 0
    overrun: int = 0
    malformed: int = 0
    given_up: int = 0


class Kmsg:
    """The kernel's log from its beginning on.

    Args:
        boot: when the kernel started, in milliseconds since 1970.
        since: what was lost before is not counted.

    Raises:
        Failure: it cannot be read.
    """

    def __init__(self, lost: Lost, *, boot: int, since: int) -> None:
        self._lost, self._boot, self._since = lost, boot, since
        self._next: int | None = None
        try:
            self.descriptor = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            hint = "run it as root (CAP_SYSLOG), or let all users read it: sysctl kernel.dmesg_restrict=0"
            raise Failure("the kernel's log cannot be read without permission", hint) from None
        except OSError as error:
            hint = "give a file: dmesg > FILE on the host, then --file FILE"
            raise Failure(f"the kernel's log cannot be read: {KMSG}: {error.strerror}", hint) from None

    def read(self) -> Iterator[Record]:
        """What is there now; does not wait. Raises Failure."""
        while True:
            try:
                line = records.kernel_line(os.read(self.descriptor, records.MOST_BYTES))
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # what came next was overwritten; the number of the one after it tells how much
            except OSError as error:
                if error.errno == errno.EINVAL:
                    continue  # a message that is longer than we take
                raise Failure(f"the kernel's log cannot be read: {error.strerror}") from None
            if line is None:
                self._lost.malformed += 1
                continue
            if self._next is not None and line.sequence > self._next:
                self._lost.overwritten += line.sequence - self._next
            at = self._boot + line.at // 1000
            if self._next is None:
                self._lost.before, self._lost.begins = line.sequence, at
            self._next = line.sequence + 1
            if at >= self._since:
                self._lost.suppressed += records.suppressed(line)
                self._lost.given_up = max(self._lost.given_up, records.given_up(line))
            yield from _taken(partial(records.of_kernel_line, line), self._lost)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


class Listener:
    """What the kernel sends to who listens to its audit records, from now on.

    Raises:
        OSError: we may not (it takes CAP_AUDIT_READ), or the kernel has none.
    """

    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_AUDIT)
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((0, _READLOG))
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise
        self.descriptor = self._socket.fileno()

    def read(self) -> Iterator[Record]:
        """What has come; does not wait."""
        for _ in range(_MOST_AT_ONCE):
            try:
                message, sender = self._socket.recvfrom(records.MOST_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost.overrun += 1
                continue
            # Others may send to this socket too; the kernel's address is 0 (netlink(7)).
            if sender[0] != 0 or len(message) < _HEADER.size:
                continue
            kind = _HEADER.unpack_from(message)[1]
            payload = message[_HEADER.size :]
            yield from _taken(partial(records.of_netlink, kind, payload), self._lost)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def text_file(path: str, lost: Lost) -> Iterator[Record]:
    """The records in a file: audit.log, or what dmesg or `journalctl -k` printed.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        # A FIFO would wait for its first writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
                raise ValueError("it is a device, and has no end")
            # Of a pipe, what its writers have not written yet is wanted too.
            os.set_blocking(descriptor, True)
            for line in _lines(file):
                text = line.decode("utf-8", "surrogateescape")
                lost.given_up = max(lost.given_up, records.given_up_of_text(text))
                yield from _taken(partial(records.of_text, text), lost)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput([Problem(path, f"cannot be read: {reason}")]) from None


def audit_logs() -> list[str]:
    """The audit log's files, the oldest first; none where no daemon writes one (auditd.conf(5), num_logs).

    Where we may not know which are there, the first stands for all of them: who reads it is told why it cannot be.
    """
    names = [f"{AUDIT_LOG}.{number}" for number in range(_MOST_ROTATED, 0, -1)]
    try:
        return [name for name in [*names, AUDIT_LOG] if Path(name).exists()]
    except PermissionError:
        return [AUDIT_LOG]


def audit_enabled() -> bool | None:
    """Whether audit is on, without which Landlock logs nothing; None if the kernel does not say (CAP_AUDIT_CONTROL)."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_AUDIT) as asked:
            asked.settimeout(5)
            asked.send(_HEADER.pack(_HEADER.size, _GET, _REQUEST, 1, 0))
            answer = asked.recv(records.MOST_BYTES)
    except OSError:
        return None
    # struct audit_status: mask, enabled …
    if len(answer) < _HEADER.size + 8 or _HEADER.unpack_from(answer)[1] != _GET:
        return None
    return bool(struct.unpack_from("=I", answer, _HEADER.size + 4)[0])


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that is too long, its beginning."""
    inside = False
    while line := file.readline(records.MOST_BYTES):
        if not inside:
            yield line
        inside = not line.endswith(b"\n")


def _taken(read: Callable[[], Record | None], lost: Lost) -> Iterator[Record]:
    try:
        record = read()
    except Malformed:
        lost.malformed += 1
    else:
        if record is not None:
            yield record
