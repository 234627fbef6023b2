"""Where a replay's containers live: a directory in memory, layers over the bundle's root, cgroups of their own.

Everything is taken away at the end, whatever has happened: containers, mounts, cgroups, files. Needs root.

Facts relied on: mount(2), umount2(2); overlayfs takes tmpfs for its upper directory (kernel: overlayfs.rst);
prctl(2), PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from scmm_oci.errors import Failure
from scmm_oci.recorder.replay import leftovers

_MNT_DETACH = 2
_NODEV, _NOSUID = 4, 2
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
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
        leftovers.sweep()
        self.directory = tempfile.mkdtemp(prefix=leftovers.PREFIX, dir=leftovers.PLACE)
        self._stack.callback(os.close, leftovers.lock(self.directory))
        self._stack.callback(leftovers.remove, self.directory)
        # Who is asked to end takes away what there is, as after Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._stack.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
        _mount("tmpfs", self.directory, "tmpfs", _NODEV | _NOSUID, "mode=0755")
        self._stack.callback(os.close, leftovers.lock(self.directory))
        os.mkdir(self.state, 0o700)
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
        name = f"{os.path.basename(self.directory)}-{self._count}"
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
                leftovers.empty(name)
                _unmount(f"{base}/bundle/rootfs")
        finally:
            shutil.rmtree(base, ignore_errors=True)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(options)):
        reason = os.strerror(ctypes.get_errno())
        raise Failure(f"{kind} cannot be mounted: {reason}", "replay needs root and the right to mount")


def _unmount(target: str) -> None:
    _libc.umount2(os.fsencode(target), _MNT_DETACH)
