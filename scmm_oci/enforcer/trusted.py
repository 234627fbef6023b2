"""Read a policy that is to be enforced: by the launcher's own rules on whose it is, whatever form it has.

Called by cli.enforce.
"""

from __future__ import annotations

import errno
import os
import stat

from scmm_oci.errors import BadInput, Problem

_CHUNK = 1 << 20


def read_policy(path: str, max_bytes: int) -> bytes:
    """The bytes of a policy's file, at most `max_bytes` and one more: so it is seen that there are more.

    Raises:
        BadInput: it cannot be read, is a symbolic link or no regular file, or somebody else could change it: it belongs
            to neither root nor us, or may be written by its group or by others.
    """
    try:
        # A FIFO without a writer must not hold us up.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise _bad(path, "is a symbolic link", "give the file itself") from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _bad(path, f"cannot be read: {reason}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _bad(path, "is no regular file")
        found = []
        if status.st_uid not in (0, os.getuid()):
            found.append(Problem(path, "belongs to another user, who could change it", "make a copy of it"))
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            found.append(Problem(path, "may be written by others", "take that right away: chmod go-w"))
        if found:
            raise BadInput(found)
        chunks = []
        left = max_bytes + 1
        while left > 0 and (chunk := os.read(fd, min(left, _CHUNK))):
            chunks.append(chunk)
            left -= len(chunk)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    return b"".join(chunks)


def _bad(path: str, message: str, hint: str = "") -> BadInput:
    return BadInput([Problem(path, message, hint)])
