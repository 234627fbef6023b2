"""Where a replay's containers live: a directory in memory, layers over the bundle's root, cgroups of their own.

Everything is taken away at the end, whatever has happened: containers, mounts, cgroups, files. Needs root.

Facts relied on: mount(2), umount2(2); overlayfs takes tmpfs for its upper directory (kernel: overlayfs.rst);
prctl(2), PR_SET_CHILD_SUBREAPER; cgroups(7), cgroup.kill since Linux 5.14.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup

_MNT_DETACH = 2
_NODEV, _NOSUID = 4, 2
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_PATIENCE = 10.0  # seconds until a killed container has to be gone
_libc = ctypes.CDLL(None, use_errno=True)


class Ground:
    """The place of one replay; a context manager.

    Attributes:
        directory: its scratch directory, a tmpfs below /run.
        state: the runtimes' private ``--root``.
    """

    def __init__(self) -> None:
        self.directory = ""
        self._stack = ExitStack()
        self._tag = f"scmm-replay-{os.getpid()}-{secrets.token_hex(3)}"
        self._count = 0

    @property
    def state(self) -> str:
        return f"{self.directory}/state"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise Failure("containers are started as root, with raw bundles", "run this as root")
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="scmm-replay-", dir="/run")
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        # Who is asked to end takes away what there is, as after Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._stack.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
        _mount("tmpfs", self.directory, "tmpfs", _NODEV | _NOSUID, "mode=0755")
        self._stack.callback(_unmount, self.directory)
        os.mkdir(self.state, 0o700)
        self._stack.callback(self._remove_cgroups)
        # What `create` leaves behind becomes our child, so that its exit status can be had.
        before = ctypes.c_int()
        _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._stack.callback(_libc.prctl, _PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)

    @contextmanager
    def layer(self, lower: str) -> Iterator[tuple[str, str]]:
        """(bundle directory, container id) with ``rootfs``, a fresh writable layer over ``lower``; removed at the end.

        Raises:
            Failure: the layer cannot be mounted.
        """
        self._count += 1
        name = f"{self._tag}-{self._count}"
        base = Path(self.directory, str(self._count))
        for part in ("upper", "work", "bundle", "bundle/rootfs"):
            (base / part).mkdir(parents=True)
        status = os.stat(lower)
        # The upper directory is the root's owner and mode as the container sees it.
        os.chown(base / "upper", status.st_uid, status.st_gid)
        (base / "upper").chmod(status.st_mode & 0o7777)
        try:
            options = f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work"
            _mount("overlay", f"{base}/bundle/rootfs", "overlay", 0, options)
            try:
                yield f"{base}/bundle", name
            finally:
                self._empty(name)
                _unmount(f"{base}/bundle/rootfs")
        finally:
            shutil.rmtree(base, ignore_errors=True)

    def _empty(self, name: str) -> None:
        """End what is left in a container's cgroup, and remove that."""
        end = time.monotonic() + _PATIENCE
        for directory in list(_cgroups(name)):
            while os.path.isdir(directory):
                for process in _processes(directory):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                    # If it has become our child it is not gone before we have waited for it.
                    with suppress(ChildProcessError):
                        os.waitpid(process, os.WNOHANG)
                try:
                    for parent, _, _ in os.walk(directory, topdown=False):
                        os.rmdir(parent)
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise Failure(f"{directory} cannot be removed: processes are left in it") from None
                    time.sleep(0.01)

    def _remove_cgroups(self) -> None:
        for number in range(1, self._count + 1):
            self._empty(f"{self._tag}-{number}")


def _cgroups(name: str) -> Iterator[str]:
    """Where a cgroup of the first level is, in every hierarchy that is mounted."""
    for _, root, point, _ in cgroup.mounts():
        place = os.path.join(point, name)
        if root == "/" and os.path.isdir(place):
            yield place


def _processes(directory: str) -> list[int]:
    found: list[int] = []
    for parent, _, _ in os.walk(directory):
        with suppress(OSError):
            found += map(int, Path(parent, "cgroup.procs").read_text().split())
    return [process for process in found if process > 0]


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(options)):
        reason = os.strerror(ctypes.get_errno())
        raise Failure(f"{kind} cannot be mounted: {reason}", "replay needs root and the right to mount")


def _unmount(target: str) -> None:
    _libc.umount2(os.fsencode(target), _MNT_DETACH)
