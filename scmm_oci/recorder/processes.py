"""What `scmm record -p` has to know of a process that runs: whether it can be recorded, its command line, its root."""

from __future__ import annotations

import os
from pathlib import Path

from scmm_oci.errors import Failure

_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_FLAGS = 6  # proc_pid_stat(5), counted from the state
_MOST_COMMAND_LINE = 1 << 20
_DEEPEST = 4096  # directories above a process's root: PATH_MAX


def open_process(pid: int) -> int:
    """A pidfd of a process that can be recorded.

    Raises:
        Failure: there is none, it has ended, it is a thread of another process, the kernel's own, or ourselves.
    """
    if pid == os.getpid():
        raise Failure(f"{pid} is scmm record itself", "give another process's id")
    try:
        # Opened first: what is looked at afterwards is of the same process, if it still lives in the end.
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Failure(f"there is no process {pid}") from None
    except OSError as error:
        group = _status(pid).get("Tgid", str(pid))
        if group != str(pid):
            raise Failure(f"{pid} is a thread of process {group}", f"record that: -p {group}") from None
        raise Failure(f"{pid} cannot be recorded: {error.strerror}") from None
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        fields = [b"X"]
    problem = None
    if fields[0] in (b"Z", b"X"):
        problem = Failure(f"process {pid} has ended")
    elif int(fields[_FLAGS]) & _PF_KTHREAD:
        problem = Failure(f"{pid} is a thread of the kernel, which makes no system calls")
    if problem is not None:
        os.close(descriptor)
        raise problem
    return descriptor


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def mount_namespace(pid: int | str) -> int:
    """The number of its mount namespace. Raises OSError."""
    return os.stat(f"/proc/{pid}/ns/mnt").st_ino


def open_root(pid: int) -> int:
    """A descriptor of the directory where a process's mount namespace begins; it keeps the mounts.

    That is not the process's own root, if that was changed by chroot(2): the kernel's paths are from the namespace's.

    Raises:
        Failure: the process does not let us look.
    """
    try:
        found = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(
            f"the root directory of process {pid} cannot be opened: {error.strerror}",
            "" if isinstance(error, FileNotFoundError | ProcessLookupError) else "this needs CAP_SYS_PTRACE",
        ) from None
    # From outside of it, nothing keeps ".." below a root. Where it leads nowhere else, the namespace begins.
    for _ in range(_DEEPEST):
        above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found)
        if _same(found, above):
            os.close(above)
            break
        os.close(found)
        found = above
    return found


def _same(one: int, other: int) -> bool:
    """Whether two descriptors are of one directory on one mount: a bind mount may show it elsewhere, too."""
    numbers = [(os.fstat(each).st_dev, os.fstat(each).st_ino, _mount(each)) for each in (one, other)]
    return numbers[0] == numbers[1]


def _mount(descriptor: int) -> str:
    # proc_pid_fdinfo(5)
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next((line for line in lines if line.startswith("mnt_id:")), "")


def command_line(pid: int) -> list[str]:
    """Its command line; empty when it is gone or has none."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_MOST_COMMAND_LINE).split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words[:-1]]
