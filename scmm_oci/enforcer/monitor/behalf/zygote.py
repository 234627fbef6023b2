"""The process that deputies are forked from: early, small, of one thread. A few stand ready: fork takes long.

It touches nothing of any thread whose calls are made, and ends with the monitor.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys

from scmm_oci.enforcer.monitor.behalf import deputy
from scmm_oci.enforcer.monitor.behalf.identity import Own
from scmm_oci.kernel import calls, identity
from scmm_oci.kernel.signals import Signals

_READY = 3  # how many stand ready
_JOIN_SESSION_KEYRING = 1  # linux/keyctl.h
_AGAIN_MS = 100  # after a fork that failed


def run(requests: socket.socket, parent: int) -> None:
    """Fork deputies until the parent ends. Never returns."""
    try:
        _get_ready(parent)
        _Zygote(requests).run()
    finally:
        os._exit(1)


def _get_ready(parent: int) -> None:
    identity.die_with_parent(parent)
    identity.close_to_others()
    os.setsid()  # no key of the monitor's terminal is for us, and /dev/tty is nothing
    try:
        calls.call("keyctl", _JOIN_SESSION_KEYRING, 0)  # no keys of the monitor's are for a file system's asking
    except OSError:
        pass  # a kernel without keys, or one on whose keys there is a quota
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
    # For deputies, which keep the mask: a thread may send them signals once they have its user, and of those only
    # SIGKILL and SIGSTOP are to count.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # what is ignored is not told
    calls.get_ready()
    import array  # noqa: F401 - socket.send_fds does that when it is called

    # A deputy is in the thread's root later on, and would load its modules from there.
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()
    sys.excepthook = lambda *_: None
    gc.collect()
    gc.disable()
    gc.freeze()


class _Zygote:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._taken, self._take = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._taken, False)
        keep = {0, 1, 2, requests.fileno(), self._taken, self._take}
        for fd in {int(name) for name in os.listdir("/proc/self/fd")} - keep:
            try:
                os.close(fd)
            except OSError:
                pass  # the one that listed them
        self._ready: set[int] = set()
        self._own = Own()

    def run(self) -> None:
        with Signals((signal.SIGCHLD,)) as ended:
            self._run(ended)

    def _run(self, ended: Signals) -> None:
        poll = select.poll()
        poll.register(ended.descriptor, select.POLLIN)
        poll.register(self._taken, select.POLLIN)
        # The other end is the monitor's, and nobody's when that has closed it.
        poll.register(self._requests, 0)
        while True:
            failed = not self._fill()
            for fd, _ in poll.poll(_AGAIN_MS if failed else None):
                if fd == self._requests.fileno():
                    os._exit(0)
                if fd == self._taken:
                    self._hear()
                else:
                    ended.read()
                    self._reap()

    def _fill(self) -> bool:
        while len(self._ready) < _READY:
            zygote = os.getpid()
            try:
                pid = os.fork()
            except OSError:
                return False
            if not pid:
                self._become_deputy(zygote)
            self._ready.add(pid)
        return True

    def _become_deputy(self, zygote: int) -> None:
        try:
            os.close(self._taken)
            deputy.run(self._requests, self._take, zygote, self._own)
        finally:
            os._exit(0)

    def _hear(self) -> None:
        data = os.read(self._taken, 4096)
        for at in range(0, len(data), 4):
            self._ready.discard(int.from_bytes(data[at : at + 4], "little"))

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._ready.discard(pid)
