"""Who makes a call that waits: /proc of the thread → Process; and SIGKILL for the whole process.

A thread's number may be another's once the call has been given up, so the listener is asked after /proc was read: only
then it counts. Called by monitor.serving where rules ask for the program or user, and by monitor.answering.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import NamedTuple

from scmm_oci.enforcer.monitor.model import Process
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

# What is wanted stands at the beginning of /proc/PID/status; what grows with CPUs and memory nodes is behind it.
_STATUS = 2048
# Descriptors of status files that are kept open, by thread: opening one takes a third of the time. Such a descriptor is
# of the thread itself and never of another with its number: once the thread has ended, reading fails (ESRCH).
_KEPT = 64
_kept: dict[int, int] = {}


class _Status(NamedTuple):
    pid: int
    uid: int
    comm: str


def process(fd: int, notification: Notification) -> Process | None:
    """Who makes the call, as /proc tells; None where the call is gone, or its thread cannot be seen from here.

    The executable is as proc_pid_exe(5) has it: ``(deleted)`` behind the name of a file that is gone.
    """
    tid = notification.tid
    if tid <= 0:
        return None
    status = _status(tid)
    if status is None:
        return None
    try:
        executable: str | None = os.readlink(f"/proc/{tid}/exe")
    except OSError:
        executable = None
    if executable is not None and not executable.startswith("/"):
        executable = None  # "(unreachable)…": on no mount that anybody can name
    if not notify.is_waiting(fd, notification.id):
        return None
    return Process(status.pid, tid, executable, status.comm, status.uid)


def kill(fd: int, notification: Notification) -> bool:
    """SIGKILL for the process whose call waits. False if the call is gone, or the process cannot be seen from here."""
    status = _status(notification.tid) if notification.tid > 0 else None
    if status is None:
        return False
    try:
        pidfd = os.pidfd_open(status.pid)
    except OSError:
        return False
    try:
        # As its thread waits still, the process has been there all the time, and the number was no other's.
        if not notify.is_waiting(fd, notification.id):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def _status(tid: int) -> _Status | None:
    """The thread's group, effective user and name: proc_pid_status(5). In names the kernel escapes line ends."""
    data = _read(tid)
    name, group, users = data.find(b"Name:\t"), data.find(b"\nTgid:\t"), data.find(b"\nUid:\t")
    if name != 0 or group < 0 or users < 0:
        return None
    comm = data[6 : data.index(b"\n")]
    pid = data[group + 7 : data.index(b"\n", group + 1)]
    uid = data[users + 6 :].split(b"\t", 2)[1]
    return _Status(int(pid), int(uid), os.fsdecode(comm))


def _open(tid: int) -> int:
    path = f"/proc/{tid}/status"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE) or not _kept:
            raise
    # Those that are kept are a comfort, and others need them more.
    while _kept:
        os.close(_kept.popitem()[1])
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _read(tid: int) -> bytes:
    """The beginning of the thread's status; nothing where there is no such thread."""
    kept = _kept.get(tid)
    if kept is not None:
        try:
            return os.pread(kept, _STATUS, 0)
        except OSError:
            os.close(_kept.pop(tid))
    try:
        opened = _open(tid)
    except OSError:
        return b""
    if len(_kept) >= _KEPT:
        os.close(_kept.pop(next(iter(_kept))))  # the one that was opened first
    _kept[tid] = opened
    try:
        return os.pread(opened, _STATUS, 0)
    except OSError:
        return b""
