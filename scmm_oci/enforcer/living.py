"""Processes by generation: a word that no other process has while the machine runs. Standard library only (scmm-runc).

It stays the same when the process becomes another program, as the shim becomes the runtime. Called by enforcer.places.
"""

from __future__ import annotations

import os


def generation() -> str:
    """That of this process: PID-START-NAMESPACE, its id, when it began and in which process namespace that id is.

    Raises OSError where /proc is not mounted.
    """
    pid = os.getpid()
    start = start_of(pid)
    if start is None:
        raise ProcessLookupError(3, f"/proc/{pid}/stat: this process is not there; is /proc that of its namespace?")
    return f"{pid}-{start}-{_namespace('pid')}"


def mounts() -> str:
    """A word for the mount namespace of this process. Raises OSError where /proc is not mounted."""
    return _namespace("mnt")


def is_alive(word: str) -> bool:
    """Whether the process of that generation lives. One that is not of our namespace is said to, as nobody can tell.

    A word that is no generation is nobody's, and not alive. Raises OSError where /proc is not mounted.
    """
    parts = word.split("-")
    if len(parts) != 3 or not all(each.isascii() and each.isdigit() for each in parts):
        return False
    pid, start, namespace = parts
    return namespace != _namespace("pid") or start_of(int(pid)) == start


def start_of(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; None if there is none. proc(5), /proc/pid/stat."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            data = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program, in brackets, may hold anything.
    fields = data[data.rindex(b")") + 1 :].split()
    # Of a zombie nothing is left but its exit code.
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _namespace(kind: str) -> str:
    # pid:[4026531836]
    return os.readlink(f"/proc/self/ns/{kind}").partition("[")[2].rstrip("]")
