"""Decides about ioprio_set(2) of containers: python3 agent.py SOCKET. Ends by SIGINT or SIGTERM.

A runtime that loads a filter with SCMP_ACT_NOTIFY connects to the profile's `listenerPath`, sends the state of the
container as JSON and, beside it, the descriptor on which the kernel asks (runtime-spec, config-linux.md). Whoever
makes such a call waits until it is answered here (seccomp_unotify(2)).

The answer looks at numbers only, never at memory of the program: that could be another by the time of the call. And
the call is made here instead of let through: the program has no right to it, and no other way to it.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

# linux/seccomp.h: struct seccomp_notif with its seccomp_data, and struct seccomp_notif_resp.
CALL, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECEIVE, SEND, STILL_THERE = 0xC0502100, 0xC0182101, 0x40082102
# linux/audit.h and asm/unistd.h: the machine's ABI, and the number of ioprio_set there.
ARCH, IOPRIO_SET = {"x86_64": (0xC000003E, 251), "aarch64": (0xC00000B7, 30)}[os.uname().machine]
PROCESS, REAL_TIME, CLASS_SHIFT = 1, 1, 13  # linux/ioprio.h
FIRST = 4  # of the levels 0 to 7 of real-time priority: whoever has a lower one is served earlier

libc = ctypes.CDLL(None, use_errno=True)


def decided(listener: int, asked: bytearray) -> tuple[str, int]:
    """What was asked, in words; and 0 when the call was made for the thread, or the error that it gets."""
    _, thread, _, number, arch, _, which, who, priority, *_ = CALL.unpack(asked)
    level, kind = priority & 7, (priority & 0xFFFFFFFF) >> CLASS_SHIFT
    if (arch, number, which & 0xFFFFFFFF, who & 0xFFFFFFFF) != (ARCH, IOPRIO_SET, PROCESS, 0) or not thread:
        return f"call {number} of thread {thread}", errno.ENOSYS
    words = f"class {kind}, level {level}"
    if kind == REAL_TIME and level < FIRST:
        return words, errno.EDOM
    fcntl.ioctl(listener, STILL_THERE, bytes(asked[:8]))  # else the thread's id may be another's by now
    done = libc.syscall(IOPRIO_SET, PROCESS, thread, ctypes.c_int(priority & 0xFFFFFFFF))
    return words, ctypes.get_errno() if done else 0


def answer(listener: int, container: str) -> None:
    """Answer one call. Who asked may be gone by now, which is no error."""
    asked = bytearray(CALL.size)
    try:
        fcntl.ioctl(listener, RECEIVE, asked)
        words, error = decided(listener, asked)
        fcntl.ioctl(listener, SEND, ANSWER.pack(CALL.unpack(asked)[0], 0, -error, 0))
    except FileNotFoundError:
        return
    print(f"{container}: {words}: {errno.errorcode[error] if error else 'done'}", flush=True)


def accepted(listening: socket.socket) -> tuple[int, str]:
    """The descriptor that a runtime sends, and the id of the container that it is for."""
    with listening.accept()[0] as peer:
        text, descriptors, _, _ = socket.recv_fds(peer, 1 << 16, 8)
        # Not until the peer closes: runc keeps it open while it waits for the container's end.
        while (state := whole(text)) is None:
            if not (more := peer.recv(1 << 16)):
                raise ValueError(f"not the state of a container: {text!r}")
            text += more
    wanted = descriptors.pop(state["fds"].index("seccompFd"))
    for other in descriptors:
        os.close(other)
    return wanted, state["state"]["id"]


def whole(text: bytes) -> Any:
    """The JSON document, or None if its end is not there yet."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def serve(listening: socket.socket) -> None:
    containers: dict[int, str] = {}
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    while True:
        for descriptor, events in waiting.poll():
            if descriptor == listening.fileno():
                new, containers[new] = accepted(listening)
                waiting.register(new, select.POLLIN)
            elif events & select.POLLIN:
                answer(descriptor, containers[descriptor])
            else:  # POLLHUP: nobody is left to ask
                waiting.unregister(descriptor)
                os.close(descriptor)


def main(path: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    os.umask(0o177)  # the socket is for root only
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}.new")
        listening.listen()
        os.rename(f"{path}.new", path)  # from now on it can be connected to
        try:
            print("listening", flush=True)
            serve(listening)
        finally:
            os.unlink(path)


if __name__ == "__main__":
    main(sys.argv[1])
