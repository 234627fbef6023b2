"""Who starts whom, as the kernel tells it (the process events of linux/cn_proc.h, over netlink's connector).

A process that is refused something has often ended when the record of it is read: then /proc no longer says whose it
was. Called by whose.Judge while logs are followed.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

_CONNECTOR = 11  # linux/netlink.h
_PROC = 1  # CN_IDX_PROC and CN_VAL_PROC, linux/connector.h
_LISTEN = 1  # PROC_CN_MCAST_LISTEN
_FORK = 1  # PROC_EVENT_FORK
_DONE = 3  # NLMSG_DONE
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_BUFFER = 8 << 20
_MOST_BYTES = 4096
_MOST_AT_ONCE = 1 << 14

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_MESSAGE = struct.Struct("=IIIIHH")  # struct cn_msg
_EVENT = struct.Struct(
    "=IIQ4I"
)  # struct proc_event of a fork: what, cpu, timestamp; parent and child, thread and process
_START = _HEADER.size + _MESSAGE.size


class Forks:
    """The processes that are started from now on.

    Attributes:
        overrun: how often there were more than the kernel could keep for us.

    Raises:
        OSError: we may not know them (it takes CAP_NET_ADMIN, outside of containers).
    """

    def __init__(self) -> None:
        self.overrun = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _CONNECTOR)
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((0, _PROC))
            body = _MESSAGE.pack(_PROC, _PROC, 0, 0, 4, 0) + struct.pack("=I", _LISTEN)
            self._socket.send(_HEADER.pack(_HEADER.size + len(body), _DONE, 0, 0, os.getpid()) + body)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise
        self.descriptor = self._socket.fileno()

    def read(self) -> Iterator[tuple[int, int]]:
        """(parent, child) of every process that was started since the last time; does not wait."""
        for _ in range(_MOST_AT_ONCE):
            try:
                message, sender = self._socket.recvfrom(_MOST_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overrun += 1
                continue
            found = forked(message) if sender[0] == 0 else None
            if found is not None:
                yield found

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def forked(message: bytes) -> tuple[int, int] | None:
    """(parent, child) of a message that tells of a new process; None if it tells of anything else."""
    if len(message) < _START + _EVENT.size:
        return None
    index, value = _MESSAGE.unpack_from(message, _HEADER.size)[:2]
    what, _, _, _, parent, thread, child = _EVENT.unpack_from(message, _START)
    # A new thread has the process that it is in.
    if (index, value) != (_PROC, _PROC) or what != _FORK or thread != child:
        return None
    return parent, child
