"""A connection to the monitor, on its way through the runtime to the launcher in a container. Standard library only.

A launcher in a container reaches no socket of the host's. So scmm-runc connects, and has the runtime hand the
connection on as it hands on descriptors of its caller's: behind those, as the last. The launcher sends the listener
through it, and closes it before the program runs.

Loaded only for containers whose calls are asked about.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson
from scmm_oci.enforcer.enforcing import listening
from scmm_oci.oci.runtime_options import CRUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scmm_oci.oci.runtime_argv import CommandLine

FIRST = 3
PATIENCE_S = 10  # for a monitor whose queue is full
# crun(1), and its variable of the same meaning.
_RECEIVING = frozenset(("run.oci.seccomp.receiver", "run.oci.seccomp.plugins"))
_RECEIVER = "RUN_OCI_SECCOMP_RECEIVER"
_NOTIFY = "SCMP_ACT_NOTIFY"
MOST_STATE = 64 << 10  # bytes; the kernel's MAX_ARG_STRLEN is 128 KiB


def place(line: CommandLine) -> int:
    """The number that the connection has for the runtime and in the container: behind all that the caller hands on.

    Raises ValueError where that is not certain, or the number is taken for something else.
    """
    count = os.environ.get("LISTEN_FDS", "")
    if count and (not (count.isascii() and count.isdecimal()) or len(count) > 4):
        raise ValueError(
            f"LISTEN_FDS={count[:40]!r} is no plain number, so where the monitor's socket goes is not certain"
        )
    number = FIRST + listening(line) + line.preserve_fds
    # What the caller has open there is not for the container, and goes no further; unless the runtime is told of it.
    own = line.words[: len(line.words) - len(line.command)]
    if any(each.endswith(f"/fd/{number}") for each in own):
        raise ValueError(f"descriptor {number} is named on the command line, and the monitor's socket goes there")
    return number


def connected(path: str) -> int:
    """A connection that the monitor which listens at `path` has taken: a descriptor that closes with exec.

    It says so by one byte (monitor.receiver): before that, it looks at who we are, and the runtime may be gone soon.

    Raises ValueError, which says what to start: nobody listens there, or not who may decide; or it does not take us.
    """
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # struct timeval; also for the launcher, which does not wait for ever either.
        waits = PATIENCE_S.to_bytes(8, "little") + bytes(8)
        for option in (_socket.SO_SNDTIMEO, _socket.SO_RCVTIMEO):
            connection.setsockopt(_socket.SOL_SOCKET, option, waits)
        connection.connect(path)
        # struct ucred of who listens: pid, uid, gid.
        who = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        uid = int.from_bytes(who[4:8], "little")
        if uid not in (0, os.geteuid()):
            raise ValueError(f"user {uid} listens at {path}, who may not decide: start scmm-monitor as root")
        if not connection.recv(1):
            raise ValueError(f"the monitor at {path} has hung up: its log says why")
        return connection.detach()
    except OSError as error:
        raise ValueError(f"{_why(error)} at {path}: start scmm-monitor --socket {path}") from None
    finally:
        connection.close()  # once it is detached, this closes nothing


def _why(error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return "nobody listens"
    if isinstance(error, BlockingIOError):
        return f"no monitor answered in {PATIENCE_S} s"
    return f"the monitor cannot be reached ({error.strerror or error})"


def other_listener(line: CommandLine, config: dict[str, Any]) -> str:
    """What of a configuration has the runtime itself make a listener, or "": a process can have one alone (EBUSY).

    Measured with runc 1.1.5 and crun 1.8.1: runc makes one where a rule notifies, crun where it is told of a receiver.
    """
    linux, annotations = config.get("linux"), config.get("annotations")
    seccomp = linux.get("seccomp") if isinstance(linux, dict) else None
    if not isinstance(seccomp, dict):
        return ""
    if line.dialect == CRUN:
        if seccomp.get("listenerPath"):
            return "linux.seccomp.listenerPath"
        if isinstance(annotations, dict) and (found := _RECEIVING.intersection(annotations)):
            return f"the annotation {min(found)}"
        return _RECEIVER if os.environ.get(_RECEIVER) else ""
    rules = seccomp.get("syscalls")
    for number, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict) and rule.get("action") == _NOTIFY:
            return f"linux.seccomp.syscalls[{number}] ({_NOTIFY})"
    return f"linux.seccomp.defaultAction ({_NOTIFY})" if seccomp.get("defaultAction") == _NOTIFY else ""


def state(line: CommandLine, config: dict[str, Any], bundle: str) -> tuple[dict[str, Any], str]:
    """What the monitor is told of a container, as the runtime-spec's State at its creation; and what is left out.

    bundle: the caller's.
    """
    version, annotations = config.get("ociVersion"), config.get("annotations")
    told: dict[str, Any] = {
        "ociVersion": version if isinstance(version, str) else "1.0.2",
        "id": line.id,
        "status": "creating",
        "pid": 0,  # nobody has one yet
        "bundle": bundle,
    }
    if not isinstance(annotations, dict) or not annotations:
        return told, ""
    told["annotations"] = annotations
    if len(quickjson.dumps(told)) <= MOST_STATE:
        return told, ""
    told["annotations"] = {name: value for name, value in annotations.items() if name.startswith("scmm.")}
    return told, f"the monitor is told of annotations scmm.* alone: all of them are more than {MOST_STATE} bytes"


def word(told: dict[str, Any]) -> str:
    """A state as one word to the launcher."""
    return quickjson.dumps(told).strip().decode("ascii")
