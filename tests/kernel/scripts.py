"""Record Python scripts that make system calls by number, and look at what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support import Hooks
from trial import Trial

PYTHON = "/usr/bin/python3"
# What the scripts below begin with: `call` makes a system call by number and gives its result or the negative errno.
PRELUDE = """
import ctypes, errno, mmap, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(nr, *args):
    words = [ctypes.c_void_p(a & (1 << 64) - 1) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(nr), *words)
    return result if result >= 0 else -ctypes.get_errno()
OPEN, STAT, CONNECT, BIND, ACCESS, FCNTL = 2, 4, 42, 49, 21, 72
def page():
    'Two pages, of which the second is gone: the address of the end of the first.'
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(8192), 3, 0x22, -1, ctypes.c_long(0))
    libc.munmap(ctypes.c_void_p(at + 4096), ctypes.c_size_t(4096))
    return at + 4096
def put(at, data):
    ctypes.memmove(at, data, len(data))
    return at
"""


def record(
    hooks: Hooks, payload: Path, script: str, *args: str, name: str = "facts", prefix: Sequence[str] = ()
) -> dict[str, Any]:
    """The capture of a Python script whose container has the host's files."""
    words = ("gate", *prefix, PYTHON, "-I", "-S", "-c", PRELUDE + script, *args)
    with Trial(hooks, payload, *words, name=name, gate=False, config={"root": {"path": "/"}}) as trial:
        trial.release()
        return trial.finish()


def losses(capture: dict[str, Any]) -> dict[str, int]:
    return {loss["kind"]: loss["count"] for loss in capture["losses"]}


def below(capture: dict[str, Any], place: str) -> list[tuple[str, str, str]]:
    """(operation, path after `place`, state) of the files below a place."""
    rows = capture["files"]
    return [(r["operation"], r["path"][len(place) :], r["state"]) for r in rows if r["path"].startswith(place)]
