"""Where a replay's containers live: a directory in memory, layers over the bundle's root, cgroups of their own.

Everything is taken away at the end, whatever has happened: containers, mounts, cgroups, files. Needs root.

Facts relied on: mount(2), umount2(2); overlayfs takes tmpfs for its upper directory (kernel: overlayfs.rst);
prctl(2), PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from scmm_oci import scratch
from scmm_oci.errors import Failure
from scmm_oci.recorder.replay import leftovers
from scmm_oci.recorder.replay.stopping import Stop

_MNT_DETACH = 2
_NODEV, _NOSUID = 4, 2
# Of the machine's memory, what a container can fill.
_SIZE = "size=25%"
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_libc = ctypes.CDLL(None, use_errno=True)


class Ground:
    """The place of one replay; a context manager. While it lasts, signals that ask to end are kept (replay.stopping).

    Attributes:
        directory: its scratch directory, a tmpfs below /run.
        state: the runtimes' private ``--root``.
        stop: what signals are kept in.
    """

    def __init__(self) -> None:
        self.directory = ""
        self.stop = Stop()
        self._stack = ExitStack()
        self._count = 0

    @property
    def state(self) -> str:
        return f"{self.directory}/state"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise Failure("containers are started as root, with raw bundles", "run this as root")
        # The first that begins and the last that ends.
        self._stack.enter_context(self.stop)
        try:
            self._open()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, trace)
        # What was mended elsewhere is no OSError any more: this is a full disk, or a mount that is gone.
        if isinstance(value, OSError) and not isinstance(value, BrokenPipeError):
            where = f"{value.filename}: " if value.filename is not None else ""
            raise Failure(f"replaying failed: {where}{value.strerror}") from value

    def _open(self) -> None:
        leftovers.sweep()
        self.directory = tempfile.mkdtemp(prefix=f"{leftovers.PREFIX}{os.getpid()}-", dir=leftovers.PLACE)
        self._stack.callback(os.close, scratch.lock(self.directory))
        self._stack.callback(leftovers.remove, self.directory)
        _memory(self.directory, "mode=0755")
        self._stack.callback(os.close, scratch.lock(self.directory))
        os.mkdir(self.state, 0o700)
        # What `create` leaves behind becomes our child, so that its exit status can be had.
        before = ctypes.c_int()
        _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._stack.callback(_libc.prctl, _PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)

    @contextmanager
    def layer(self, lower: str) -> Iterator[tuple[str, str]]:
        """(bundle directory, container id) with ``rootfs``, a fresh writable layer over ``lower``; removed at the end.

        The layer is in memory of its own: who fills it leaves the others theirs.

        Raises:
            Failure: the layer cannot be mounted.
        """
        self._count += 1
        name = f"{os.path.basename(self.directory)}-{self._count}"
        base = Path(self.directory, str(self._count))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, base, ignore_errors=True)
            (base / "layer").mkdir(parents=True)
            (base / "bundle" / "rootfs").mkdir(parents=True)
            _memory(f"{base}/layer", _SIZE)
            stack.callback(_unmount, f"{base}/layer")
            upper, work = base / "layer" / "upper", base / "layer" / "work"
            upper.mkdir()
            work.mkdir()
            status = os.stat(lower)
            # The upper directory is the root's owner and mode as the container sees it.
            os.chown(upper, status.st_uid, status.st_gid)
            upper.chmod(status.st_mode & 0o7777)
            _mount(
                "overlay", f"{base}/bundle/rootfs", "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}"
            )
            stack.callback(_unmount, f"{base}/bundle/rootfs")
            stack.callback(leftovers.empty, name)
            yield f"{base}/bundle", name


def _memory(target: str, options: str) -> None:
    _mount("tmpfs", target, "tmpfs", _NODEV | _NOSUID, options)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(options)):
        reason = os.strerror(ctypes.get_errno())
        raise Failure(f"{kind} cannot be mounted: {reason}", "replay needs root and the right to mount")


def _unmount(target: str) -> None:
    _libc.umount2(os.fsencode(target), _MNT_DETACH)
