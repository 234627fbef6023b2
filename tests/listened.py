"""A Python program whose calls wait at a listener: the real kernel's, for tests of what answers them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import from_machine

# Loads a filter that has the numbers of argv[2] wait, sends its listener to descriptor argv[1], and goes on with what
# follows. seccomp(2), seccomp_unotify(2), linux/filter.h.
_PRELUDE = """
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
SECCOMP = {'x86_64': 317, 'aarch64': 277}[os.uname().machine]
numbers = [int(word) for word in sys.argv[2].split(',')]
program = [(0x20, 0, 0, 0)]
program += [(0x15, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x7FC00000)]
text = b''.join(struct.pack('=HBBI', *each) for each in program)
held = ctypes.create_string_buffer(text, len(text))
head = struct.pack('=HxxxxxxQ', len(program), ctypes.addressof(held))
assert libc.prctl(38, 1, 0, 0, 0) == 0
listener = libc.syscall(SECCOMP, 1, 8, ctypes.c_char_p(head))
assert listener >= 0, os.strerror(ctypes.get_errno())
sys.argv[1] = socket.socket(fileno=int(sys.argv[1]))
socket.send_fds(sys.argv[1], [b'x'], [listener])
os.close(listener)
sys.argv[1].close()
"""


@dataclass(frozen=True)
class Listened:
    """The program, and the listener at which its calls wait."""

    process: subprocess.Popen[str]
    fd: int

    def next(self) -> Notification:
        """The next call of the program, once it is made."""
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        while True:
            ready = waiting.poll(60_000)
            assert ready, "the program makes no call"
            assert ready[0][1] & select.POLLIN, "the program has ended"
            call = notify.receive(self.fd)
            if call is not None:
                return call

    def close(self) -> None:
        """Have the listener no more; whoever else has it answers."""
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), self.fd, inheritable=False)

    def output(self) -> str:
        """What it prints until its end."""
        return self.process.communicate(timeout=60)[0]


@contextmanager
def listened(names: Sequence[str], body: str) -> Iterator[Listened]:
    """Run Python text with these calls of the machine's ABI waiting; `os`, `sys`, `ctypes` and `libc` are there."""
    arch = from_machine(os.uname().machine)
    numbers = ",".join(str(syscalls.numbers(arch)[name]) for name in names)
    python = [sys.executable, "-I", "-S", "-c", _PRELUDE + textwrap.dedent(body)]
    with handing_over(lambda fd: [*python, fd, numbers]) as it:
        yield it


@contextmanager
def handing_over(words: Callable[[str], Sequence[str | Path]]) -> Iterator[Listened]:
    """Run a program that sends its listener to a descriptor, whose number its words have."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            words(str(theirs.fileno())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        ours.settimeout(60)
        _, received, _, _ = socket.recv_fds(ours, 1, 4)
    (fd,) = received
    try:
        yield Listened(process, fd)
    finally:
        os.close(fd)
        process.kill()
        process.communicate()
