"""A monitor for tests: takes the listeners of containers at a socket, and answers all calls in one way."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from scmm_oci.kernel import notify

# What busybox says of a mkdir that was refused with EDQUOT, which no file system of the tests gives.
ERRNO, WORDS = 122, "Disk quota exceeded"


@dataclass
class Asked:
    """Listens at `path` while it is open. A context manager.

    states: what came with each listener, in order. calls: how many were asked about. lets: they are made, not refused.
    greets: each connection gets a byte at once, as from scmm-monitor. hangs_up: they are closed, with nothing read.
    """

    path: Path
    lets: bool = False
    greets: bool = True
    hangs_up: bool = False
    states: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self.path))
        self._socket.listen()
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)
        self._socket.close()
        self.path.unlink()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            listeners: list[int] = []
            while True:
                for key, _ in selector.select():
                    if key.fd == self._ended:
                        for each in listeners:
                            os.close(each)
                        return
                    if key.fileobj is self._socket:
                        connection, _ = self._socket.accept()
                        with contextlib.suppress(BrokenPipeError):  # it may be gone already
                            connection.send(b"\1" if self.greets else b"")
                        if self.hangs_up:
                            connection.close()
                        else:
                            selector.register(connection, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        selector.unregister(key.fileobj)
                        listener = self._received(key.fileobj)
                        if listener is not None:
                            listeners.append(listener)
                            selector.register(listener, selectors.EVENT_READ)
                    elif not self._answered(key.fd):
                        selector.unregister(key.fd)

    def _received(self, connection: socket.socket) -> int | None:
        with connection:
            try:
                data, descriptors, _, _ = socket.recv_fds(connection, 1 << 18, 1)
            except ConnectionResetError:
                return None
            if not descriptors:
                return None
            self.states.append(json.loads(data))
        return descriptors[0]

    def _answered(self, listener: int) -> bool:
        """Answer the call that waits; False when nobody will ask any more."""
        try:
            call = notify.receive(listener)
        except OSError:
            return False
        if call is None:
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            return not any(events & select.POLLHUP for _, events in poll.poll(0))
        self.calls += 1
        if self.lets:
            notify.let_go_on(listener, call.id)
        else:
            notify.refuse(listener, call.id, ERRNO)
        return True
