"""Peers that hand over nonsense, slowly, many at once, or what is not theirs: refused, and others are served."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import enforce
import pytest
from monitored import ALLOWED, DENIED, ENOSYS, EPERM, Monitor, kept, monitoring, serves

from benchmarks.monitor_ways import family
from benchmarks.processes import Asked
from rig.process import RigError
from scmm_oci.enforcer.monitor.receiver import MOST

SOAK = bool(os.environ.get("SCMM_SOAK"))
MS = 10_000 if SOAK else 400
REFUSED = "which connected,"


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """One for all of these tests: what one of them does to it, the next ones meet."""
    with monitoring(tmp_path_factory.mktemp("monitor")) as one:
        serves(one)  # also: from now on it has the helpers that it keeps
        yield one


def send(connection: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> bool:
    """Send all of it, descriptors with its beginning. False if the other end does not want it."""
    try:
        sent = socket.send_fds(connection, [data], list(descriptors)) if descriptors else 0
        if sent < len(data):
            connection.sendall(data[sent:])
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def closed(connection: socket.socket) -> bool:
    """Whether the other end closes the connection, whatever it says before."""
    try:
        while connection.recv(64):
            pass
    except ConnectionResetError:
        pass
    return True


def changed(**more: Any) -> Callable[[bytes], bytes]:
    return lambda state: json.dumps({**json.loads(state), **more}).encode()


BAD: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda state: b"",
    "half of it": lambda state: state[: len(state) // 2],
    "text": lambda state: b"hello\n",
    "every byte": lambda state: bytes(range(256)),
    "a list": lambda state: b"[" + state + b"]",
    "a number": lambda state: b"17",
    "two of them": lambda state: state + state,
    "something after it": lambda state: state + b"\0",
    "no UTF-8": lambda state: state.replace(b"kept", b"\xff\xfe"),
    "very deep": lambda state: b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "very deep and open": lambda state: b"[" * 60_000,
    "very long": lambda state: b'{"a": "' + b"x" * (4 << 20) + b'"}',
    "very long and blank": lambda state: b" " * (4 << 20),
    "a very long number": lambda state: b'{"pid": ' + b"9" * 60_000 + b"}",
    "an empty object": lambda state: b"{}",
    "no descriptors named": changed(fds=[]),
    "other descriptors named": changed(fds=["pidFd"]),
    "more descriptors named": changed(fds=["seccompFd", "pidFd"]),
    "the same named twice": changed(fds=["seccompFd", "seccompFd"]),
    "names that are numbers": changed(fds=[7]),
    "a process of its own kind": changed(pid="1"),
    "a negative process": changed(pid=-1),
    "no state": changed(state=None),
    "an empty state": changed(state={}),
    "metadata that is a list": changed(metadata=["x"]),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_state_is_refused_with_its_descriptor(monitor: Monitor, what: str) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    told = monitor.told.count(REFUSED)
    with kept(monitor.place) as (asked, state, listener), monitor.connect() as connection:
        # At least a byte has to carry a descriptor.
        send(connection, BAD[what](state) or b" ", [listener])
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is over already
        assert closed(connection)
        monitor.wait_told(REFUSED, times=told + 1)
        # It has not kept the listener, and nobody else has it but we: what waits there is not its to answer.
        monitor.wait_idle(*before)
        # The twin, and that the state would have been one.
        with monitor.connect() as again:
            assert send(again, state, [listener]) and closed(again)
        assert asked.ask(f"call {DENIED}") == str(EPERM)


def test_a_state_in_single_bytes(monitor: Monitor) -> None:
    with kept(monitor.place) as (asked, state, listener), monitor.connect() as connection:
        assert send(connection, state[:1], [listener])
        for byte in state[1:]:
            connection.sendall(bytes([byte]))
        assert closed(connection)
        assert asked.ask(f"call {DENIED}") == str(EPERM)


def test_a_descriptor_that_comes_late_and_a_name_that_breaks_the_terminal(monitor: Monitor) -> None:
    """Also: what is told of a peer's words is printable."""
    with kept(monitor.place) as (asked, state, listener), monitor.connect() as connection:
        named = changed(metadata="\x1b]0;owned\x07\n\x9b2Jroot\u202e")(state)
        connection.sendall(named[:10])
        assert send(connection, named[10:], [listener]) and closed(connection)
        assert asked.ask(f"call {DENIED}") == str(EPERM)
    monitor.wait_told("owned")
    assert not {each for each in monitor.told if not each.isprintable() and each != "\n"}


@pytest.mark.parametrize("what", ["none", "file", "pipe", "socket", "pidfd", "directory", "device"])
def test_descriptors_that_are_no_listener(monitor: Monitor, what: str) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    ends: dict[str, Callable[[], Sequence[int]]] = {
        "none": lambda: (),
        "file": lambda: (os.open(monitor.place / "monitor.yaml", os.O_RDONLY),),
        "pipe": os.pipe,
        "socket": lambda: [each.detach() for each in socket.socketpair()],
        "pidfd": lambda: (os.pidfd_open(os.getpid()),),
        "directory": lambda: (os.open("/", os.O_PATH),),
        "device": lambda: (os.open("/dev/zero", os.O_RDWR),),
    }
    made = ends[what]()
    names = ["seccompFd"] if made else []
    told = monitor.told.count(REFUSED)
    with kept(monitor.place) as (_, state, _listener), monitor.connect() as connection:
        send(connection, changed(fds=names)(state), made[:1])
        assert closed(connection)
    for each in made:
        os.close(each)
    monitor.wait_told(REFUSED, times=told + 1)
    monitor.wait_idle(*before)
    serves(monitor)


@pytest.mark.parametrize("at", [0, 1, 252])
def test_a_listener_among_many_descriptors(monitor: Monitor, at: int) -> None:
    """As many as one message may carry; what is not the listener is closed."""
    before = monitor.descriptors(), len(family(monitor.pid))
    with kept(monitor.place) as (asked, state, listener), monitor.connect() as connection:
        null = os.open(os.devnull, os.O_RDONLY)
        given = [null] * 253
        given[at] = listener
        names = ["other"] * 253
        names[at] = "seccompFd"
        assert send(connection, changed(fds=names)(state), given) and closed(connection)
        os.close(null)
        assert asked.ask(f"call {DENIED}") == str(EPERM)
        assert monitor.descriptors() <= before[0] + 3
    monitor.wait_idle(*before)


def test_more_descriptors_than_a_message_may_carry(monitor: Monitor) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    told = monitor.told.count("more than 253 descriptors")
    with kept(monitor.place) as (_, state, listener), monitor.connect() as connection:
        for byte in state[:20]:
            if not send(connection, bytes([byte]), [listener] * 253):
                break
        assert closed(connection)
    monitor.wait_told("more than 253 descriptors", times=told + 1)
    monitor.wait_idle(*before)
    serves(monitor)


def test_two_hundred_connections_that_say_nothing_whole(monitor: Monitor) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    with ExitStack() as stack:
        many = [stack.enter_context(monitor.connect()) for _ in range(200)]
        for number, each in enumerate(many):
            each.sendall(b'{"ociVersion"'[: 1 + number % 13])
        # They are let be: others have their turn meanwhile.
        serves(monitor)
        if SOAK:
            assert all(closed(each) for each in many)
            monitor.wait_told("did not say all in 10 s", times=200)
    monitor.wait_idle(*before)
    serves(monitor)


def test_more_connections_than_are_listened_to(monitor: Monitor) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * MOST)), hard))
    try:
        with ExitStack() as stack:
            many = [stack.enter_context(monitor.connect()) for _ in range(MOST + 1)]
            # The last one is turned away, the first one is not.
            assert closed(many[-1])
            monitor.wait_told("connections wait already")
            many[0].setblocking(False)
            with pytest.raises(BlockingIOError):
                while many[0].recv(64):
                    pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monitor.wait_idle(*before)
    serves(monitor)


#: Reads a listener, and denies what it gets with another errno than the monitor.
_THIEF = """
import fcntl, struct, sys
listener, form = int(sys.argv[1]), struct.Struct("=QIIiIQ6Q")
print("ready", flush=True)
while True:
    buffer = bytearray(form.size)
    try:
        fcntl.ioctl(listener, 0xC0502100, buffer)
        fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", form.unpack(buffer)[0], 0, -1, 0))
    except FileNotFoundError:
        pass
"""


def test_a_listener_that_another_process_reads_as_well(monitor: Monitor) -> None:
    """The kernel lets several read one listener, and whoever comes second waits, also where it must not."""
    before = monitor.descriptors(), len(family(monitor.pid))
    with kept(monitor.place) as (asked, state, listener), ThreadPoolExecutor(1) as pool:
        words = [sys.executable, "-I", "-S", "-c", _THIEF, str(listener)]
        thief = subprocess.Popen(words, stdout=subprocess.PIPE, pass_fds=[listener])
        try:
            assert thief.stdout is not None and thief.stdout.readline() == b"ready\n"
            with monitor.connect() as connection:
                assert send(connection, state, [listener]) and closed(connection)
            flood = pool.submit(asked.ask, f"flood 8 {MS} {DENIED}")
            serves(monitor)
            calls, _, _ = map(int, flood.result().split())
            assert calls > 0
            # Nothing waits there any more, and the thief would take it if something did.
            serves(monitor)
        finally:
            thief.kill()
            thief.communicate()
    serves(monitor)
    monitor.wait_idle(*before)


def test_one_listener_that_comes_twice(monitor: Monitor) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    with kept(monitor.place) as (asked, state, listener):
        for _ in range(2):
            with monitor.connect() as connection:
                assert send(connection, state, [listener]) and closed(connection)
        calls, enosys, eperm = map(int, asked.ask(f"flood 8 {MS // 4} {DENIED}").split())
        assert (calls > 0, enosys, eperm) == (True, 0, calls)
    monitor.wait_idle(*before)
    serves(monitor)


def test_a_peer_that_is_under_a_filter_is_refused(monitor: Monitor) -> None:
    """It could be one of those that are decided about. The twin is every other test."""
    told = monitor.told.count("is under a seccomp filter")
    try:
        with monitor.asks(before=enforce.refusing("acct", 1)) as asked:
            assert asked.ask(f"call {ALLOWED}") == str(ENOSYS)
    except RigError as error:
        # It was turned away before it had said anything.
        assert "Broken pipe" in str(error) or "Connection reset" in str(error)
    monitor.wait_told("is under a seccomp filter", times=told + 1)
    serves(monitor)


_ANOTHER = """
import os, socket, sys
path, user = sys.argv[1], int(sys.argv[2])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(path)
    peer.settimeout(60)
    try:
        peer.sendall(b"hello")
        while peer.recv(64):
            pass
    except (BrokenPipeError, ConnectionResetError):
        pass
print("closed")
"""


def test_a_peer_of_another_user_is_refused(monitor: Monitor) -> None:
    """It cannot come to the socket; where somebody has opened the way to it, the kernel says who it is."""

    def connect(user: int) -> str:
        words = [sys.executable, "-I", "-S", "-c", _ANOTHER, str(monitor.socket), str(user)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    assert connect(65534) == "PermissionError: [Errno 13] Permission denied"
    directories = [one for one in monitor.socket.parents if one.stat().st_uid == os.getuid()]
    modes = {one: one.stat().st_mode & 0o7777 for one in (*directories, monitor.socket)}
    try:
        for one, mode in modes.items():
            one.chmod(mode | 0o666 if one == monitor.socket else mode | 0o011)
        assert connect(65534) == "closed"
        monitor.wait_told("a connection was refused: it is of user 65534")
        # The twin: root is listened to, and refused for what it says.
        assert connect(0) == "closed"
        monitor.wait_told("no JSON object")
    finally:
        for one, mode in modes.items():
            one.chmod(mode)
    serves(monitor)


def test_nobody_else_can_write_to_the_socket(monitor: Monitor) -> None:
    assert monitor.socket.stat().st_mode & 0o077 == 0
    assert monitor.socket.parent.stat().st_mode & 0o077 == 0


def test_refused_peers_by_the_hundred(monitor: Monitor) -> None:
    """Each at once, in several threads: nothing is left of them."""
    before = monitor.descriptors(), len(family(monitor.pid))

    def one(number: int) -> None:
        with monitor.connect() as connection:
            send(connection, [b"[]", b"{}", b"{", b'{"fds": 1}'][number % 4])
            connection.shutdown(socket.SHUT_WR)
            assert closed(connection)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(2000 if SOAK else 200)))
    monitor.wait_idle(*before)
    serves(monitor)


def test_programs_that_are_honest_are_not_told_of_as_refused(monitor: Monitor) -> None:
    """The control of `REFUSED`."""
    told = monitor.told.count(REFUSED)
    honest: Asked = monitor.asks("not-refused")
    with honest:
        assert honest.ask(f"call {ALLOWED}") == str(honest.pid)
    serves(monitor)
    assert monitor.told.count(REFUSED) == told
