"""Listeners come in: connections at the monitor's socket, each with one state and its descriptors (monitor.protocol).

On the event loop; a peer that is slow holds up nobody else, and is left `DEADLINE_S` after its first word. One may say
nothing for long: scmm-runc connects when a container is created, and the launcher speaks when it is started.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from scmm_oci.enforcer.monitor.model import Target
from scmm_oci.enforcer.monitor.protocol import MAX_DESCRIPTORS, BadPeer, Document, Handed, parse
from scmm_oci.enforcer.monitor.sockets import CREDENTIALS, ENDED, Listening, Peer, filters_of, peer_of, refusal
from scmm_oci.kernel import notify

DEADLINE_S = 10.0  # from a state's first byte to its last
MOST = 1024  # connections at a time
# What a peer that asks whether it is listened to may read. Nobody has to.
WELCOME = b"\1"
_PIECE = 16 << 10
_ROOM = socket.CMSG_SPACE(4 * MAX_DESCRIPTORS) + socket.CMSG_SPACE(CREDENTIALS.size)
_TURN = 64  # connections that are accepted before others have their turn
_AGAIN_S = 0.5  # when there is no descriptor left for a connection


class Receiver:
    """Accepts connections and hands listeners on.

    on_listener: gets a listener's descriptor, which is its own from then on, and what was said of it; and how many
        seccomp filters who asks there first may have, where the peer had ended before it could be looked at, else None.
    on_refused: gets why a connection came to nothing, for people.
    filtered: whether processes under a filter are listened to as well.
    """

    def __init__(
        self,
        listening: Listening,
        *,
        on_listener: Callable[[int, Target, int | None], None],
        on_refused: Callable[[str], None],
        filtered: bool = False,
    ) -> None:
        self._listening = listening
        self._on_listener = on_listener
        self._on_refused = on_refused
        self._connections: set[_Connection] = set()
        self._most_filters = None if filtered else filters_of("self") or 0
        self._loop = asyncio.get_running_loop()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._waiting: asyncio.TimerHandle | None = None
        self._again()

    def close(self) -> None:
        """Listen no more; connections that have not said all are closed."""
        self._loop.remove_reader(self._listening.socket)
        if self._waiting is not None:
            self._waiting.cancel()
        os.close(self._spare)
        for one in list(self._connections):
            one.close()

    def _accept(self) -> None:
        for _ in range(_TURN):
            try:
                connection, _ = self._listening.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._full(error)
                return
            try:
                self._accepted(connection)
            except OSError as error:
                connection.close()
                self._full(error)
                return

    def _full(self, error: OSError) -> None:
        """What comes next waits in the socket's queue; looking again at once would keep the loop from all else."""
        self._on_refused(f"a connection cannot be taken: {error.strerror}")
        self._loop.remove_reader(self._listening.socket)
        self._waiting = self._loop.call_later(_AGAIN_S, self._again)

    def _again(self) -> None:
        self._loop.add_reader(self._listening.socket, self._accept)

    def _accepted(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        peer = peer_of(connection)
        os.close(self._spare)  # so that there is a descriptor to look with
        try:
            why = refusal(peer, connection, most_filters=self._most_filters)
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        is_unseen = why is ENDED
        if is_unseen:
            why = None
        if why is None and len(self._connections) >= MOST:
            why = f"{MOST} connections wait already"
        if why is not None:
            connection.close()
            self._on_refused(f"a connection was refused: {why}")
            return
        # A peer that does not read it loses nothing, and one that has gone already may have said all.
        with suppress(OSError):
            connection.send(WELCOME, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        self._connections.add(_Connection(connection, peer, self._over, self._on_refused, is_unseen=is_unseen))

    def _over(self, connection: _Connection, listener: int, handed: Handed | None) -> None:
        self._connections.discard(connection)
        if handed is None:
            return
        most = None
        if connection.is_unseen and self._most_filters is not None:
            most = self._most_filters + 1  # the listener's own
        self._on_listener(listener, _target(handed, connection.sender), most)


class _Connection:
    """One connection, until its state is whole or it fails.

    Attributes:
        is_unseen: the peer had ended before it could be looked at.
        sender: the process that has said the last of it, in our PID namespace: not always the one that connected.
    """

    def __init__(
        self,
        connection: socket.socket,
        peer: Peer,
        over: Callable[[_Connection, int, Handed | None], None],
        refused: Callable[[str], None],
        *,
        is_unseen: bool,
    ) -> None:
        self.peer = peer
        self.is_unseen = is_unseen
        self.sender = 0
        self._socket = connection
        self._over = over
        self._refused = refused
        self._document = Document()
        self._descriptors: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        asyncio.get_running_loop().add_reader(connection, self._readable)

    def close(self) -> None:
        self._end(-1, None)

    def _readable(self) -> None:
        try:
            piece, ancillary, flags, _ = self._socket.recvmsg(_PIECE, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(f"cannot be read: {error.strerror}")
            return
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) >= CREDENTIALS.size:
                self.sender, _, _ = CREDENTIALS.unpack_from(data)
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                # What is no whole number was cut off, which the flags tell.
                self._descriptors += [each[0] for each in struct.iter_unpack("=i", data[: len(data) // 4 * 4])]
        if flags & socket.MSG_CTRUNC:
            self._fail("sent descriptors that there is no room for")
            return
        if len(self._descriptors) > MAX_DESCRIPTORS:
            self._fail(f"sent more than {MAX_DESCRIPTORS} descriptors")
            return
        if not piece:
            if self._timer is None:
                self._end(-1, None)  # it never said anything: a container that was created, and never started
            else:
                self._fail("ended before its state was whole")
            return
        if self._timer is None:
            whole = f"did not say all in {DEADLINE_S:.0f} s"
            self._timer = asyncio.get_running_loop().call_later(DEADLINE_S, self._fail, whole)
        try:
            if not self._document.feed(piece):
                return
            handed = parse(bytes(self._document.data), len(self._descriptors))
        except BadPeer as error:
            self._fail(f"sent no state of a container: {error}")
            return
        listener = self._descriptors[handed.index]
        if not notify.is_listener(listener):
            self._fail("sent a descriptor that is no seccomp listener")
            return
        self._descriptors.remove(listener)
        self._end(listener, handed)

    def _fail(self, why: str) -> None:
        self._refused(f"process {self.peer.pid}, which connected, {why}")
        self._end(-1, None)

    def _end(self, listener: int, handed: Handed | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for each in self._descriptors:
            os.close(each)
        self._descriptors.clear()
        self._over(self, listener, handed)


def _target(handed: Handed, sender: int) -> Target:
    return Target(
        id=handed.state.id,
        name=handed.metadata or handed.state.id,
        # A runtime says it as we count; the launcher in a container does not, and is the process itself.
        pid=handed.pid if _same_pids(sender) else sender,
        bundle=handed.state.bundle,
        annotations=tuple(sorted(handed.state.annotations.items())),
    )


def _same_pids(pid: int) -> bool:
    """Whether a peer counts processes as we do."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False
