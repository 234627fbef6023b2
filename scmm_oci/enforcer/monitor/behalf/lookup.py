"""In a deputy that has become the thread's equal: what a name stands for, held by descriptors.

Each component is looked up by the kernel with the thread's rights, and links are followed here, one by one: so it is
known where a name led, no link counts twice, and /proc/self is the thread's and not the deputy's. What is found has
descriptors of its own, relative to which the call is then made.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from scmm_oci.enforcer.monitor.behalf.found import Found, Nowhere, is_in
from scmm_oci.enforcer.monitor.behalf.identity import Impossible, Who
from scmm_oci.enforcer.monitor.behalf.walk import Walk
from scmm_oci.kernel import calls
from scmm_oci.kernel.calls import file_of, open_at

_PATH_MAX = 4096
_HELD = os.O_PATH | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Start:
    """Where relative names begin: a directory that is held, and its path if that is known to lead there."""

    fd: int
    path: bytes | None


class Lookup:
    """Names of one thread. It must be made when this process is where the thread is, and has not lost its rights yet:
    a thread may be in a directory that it cannot get to a second time.

    Attributes:
        root: a descriptor of the thread's.
        who: the thread.
    """

    def __init__(self, *, root: int, own: int, who: Who, starts: Sequence[int]) -> None:
        """root: of the thread; own: O_PATH of /proc/self/fd, of the deputy's own procfs; starts: held directories."""
        self.root, self._own, self.who = root, own, who
        self._known = [Start(root, b"/")]
        for fd in starts:
            path = self._told(fd)
            if path is not None and self._leads_to(path, fd):
                self._known.append(Start(fd, path))

    def find(
        self,
        start: int,
        text: bytes,
        *,
        follow: bool,
        file: bool,
        resolve: int = 0,
        empty: bool = False,
    ) -> Found:
        """What `text` stands for, relative to `start` unless it is absolute.

        Args:
            follow: a link at its end is followed.
            file: what there is is wanted, not only the place for it.
            resolve: RESOLVE_… of openat2(2).
            empty: an empty name is `start` itself (AT_EMPTY_PATH).

        Raises:
            Nowhere: the thread gets an errno for it.
            Impossible: where it leads cannot be told for sure.
        """
        if len(text) >= _PATH_MAX:
            raise Nowhere(errno.ENAMETOOLONG, b"")
        if not text and not empty:
            raise Nowhere(errno.ENOENT, b"")
        if start < 0 and not text.startswith(b"/"):
            raise Nowhere(-start, text)
        if not text:
            return Found(self.path_of(start), -1, b"", start, descriptor=True)
        walk = Walk(self, start, text, resolve)
        return walk.to_file(follow=follow) if file else walk.to_place()

    def _told(self, fd: int) -> bytes | None:
        """The path of a held file as the kernel tells it, which may be none in this root."""
        try:
            return os.readlink(str(fd).encode(), dir_fd=self._own)
        except OSError:
            return None

    def _leads_to(self, path: bytes, fd: int) -> bool:
        """Whether a path without links leads to the held file, from the nearest directory of which that is known."""
        if not path.startswith(b"/"):
            return False
        base = max((one for one in self._known if is_in(path, one.path)), key=lambda one: len(one.path or b""))
        rest = path[len(base.path or b"") :].lstrip(b"/")
        try:
            there = open_at(base.fd, rest or b".", _HELD | os.O_NOFOLLOW, resolve=calls.NO_SYMLINKS)
        except OSError:
            # To look up "." takes the right to search it; that it is itself, none.
            return not rest and file_of(base.fd) == file_of(fd)
        try:
            return file_of(there) == file_of(fd)
        finally:
            os.close(there)

    def path_of(self, fd: int) -> bytes:
        """The real path of a held file. Raises Impossible if none in this root leads there."""
        path = self._told(fd)
        if path is None or not self._leads_to(path, fd):
            raise Impossible("a name leads out of its root, or to where no path leads")
        return path
