"""What the shim says: its errors to the engine, and lines for its log. Standard library only (scmm-runc).

An engine shows what a runtime wrote to `--log FILE`, in the format that it asked for, and not always stderr.
"""

from __future__ import annotations

import os
import sys
import time

from scmm_oci import quickjson

NAME = "scmm-runc"
MAX_LOG = 1 << 20  # bytes; then the log is begun anew, with the old one kept beside it


def error(message: str, *, log: str | None, log_format: str, now: float) -> None:
    """Say why nothing was started: to stderr, and as one line to the runtime's log file. Never fails.

    log, log_format: the values of runc's --log and --log-format. Lines have the fields that logrus gives them, which
    is what containerd and dockerd read: level, msg, time.
    """
    line = printable(message)
    try:
        sys.stderr.write(f"{NAME}: {line}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # stderr may be closed
    if not log:
        return
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if log_format == "json":
        entry = quickjson.dumps({"level": "error", "msg": f"{NAME}: {line}", "time": when})
    else:
        quoted = f"{NAME}: {line}".replace("\\", "\\\\").replace('"', '\\"')
        entry = f'time="{when}" level=error msg="{quoted}"\n'.encode()
    _append(log, entry, mode=0o644, links=True)


def note(path: str, message: str, *, now: float) -> None:
    """One line to the shim's own log file. Never fails: what cannot be logged stops no container."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if os.stat(path).st_size > MAX_LOG:
            os.rename(path, path + ".1")
    except OSError:
        pass
    _append(path, f"{when} {NAME}: {printable(message)}\n".encode(), mode=0o600, links=False)


def printable(message: str) -> str:
    """`message` on one line, without what a terminal would act on."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in message)


def _append(path: str, entry: bytes, *, mode: int, links: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | (0 if links else os.O_NOFOLLOW), mode)
        try:
            os.write(descriptor, entry)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        pass
