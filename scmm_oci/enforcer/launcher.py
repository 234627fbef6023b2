"""The launcher that the package carries: where it is, and how this process becomes it.

Never a child process: the program keeps our process id, and signals and exit status need nobody to pass them on.
Called by cli.enforce.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from scmm_oci.errors import Failure

_DATA = Path(__file__).resolve().parent.parent / "data"
_NAME = "scmm-enforce"

# linux/memfd.h, from Linux 6.3 on: the descriptor can never be executed. fcntl(2) has the seals.
_MFD_NOEXEC_SEAL = 8

# The standard streams may be closed, and a policy must not come to be one of them.
_FIRST_DESCRIPTOR = 3


def find(machine: str) -> Path:
    """The launcher for a machine, as uname(2) names it: an executable without an interpreter, to be copied into images.

    Raises:
        Failure: there is none for such a machine, or it may not be executed.
    """
    path = _DATA / f"{_NAME}.{machine}"
    if "/" in machine or not path.is_file():
        known = sorted(one.name.removeprefix(f"{_NAME}.") for one in _DATA.glob(f"{_NAME}.*"))
        hint = f"there are launchers for {', '.join(known)}" if known else "build it: `make setup`"
        raise Failure(f"there is no launcher for {machine}", hint)
    if not os.access(path, os.X_OK):
        raise Failure(
            f"{path} may not be executed", "install the package again, or take it from a file system with exec"
        )
    return path


def become(launcher: Path, arguments: Sequence[str], policy: bytes | None = None) -> NoReturn:
    """Become the launcher, and by it the program.

    Args:
        arguments: the launcher's, without its own name.
        policy: a compiled policy that has no file; it is handed over as ``--policy-fd``.

    Raises:
        Failure: the kernel refuses. Signals that Python ignores are back at their defaults then.
    """
    words = [_NAME]
    if policy is not None:
        words.append(f"--policy-fd={_descriptor(policy)}")
    # Python ignores these two, and what is ignored stays so in every program that is executed.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execve(launcher, [*words, *arguments], environment())
    except OSError as error:
        raise Failure(f"{launcher} cannot be executed: {error.strerror}") from error


def environment() -> dict[bytes, bytes]:
    """The environment that this process was given, without what Python has put into it.

    In the locale C, Python sets LC_CTYPE for itself and for all that it starts (PEP 538). It cannot hand on a variable
    without a name (``=x``), which no getenv(3) finds either: that is left out.
    """
    found = {name: value for name, value in os.environb.items() if name}
    try:
        given = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return found
    if not any(one.startswith(b"LC_CTYPE=") for one in given):
        found.pop(b"LC_CTYPE", None)
    return found


def _descriptor(policy: bytes) -> int:
    """A descriptor that programs inherit, of a file in memory that nobody can change or execute any more."""
    try:
        try:
            first = os.memfd_create("scmm-pol", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_NOEXEC_SEAL)
        except OSError:
            first = os.memfd_create("scmm-pol", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fd = fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
        os.close(first)
        view = memoryview(policy)
        while view:
            view = view[os.write(fd, view) :]
        # The launcher reads nothing that others may write to.
        os.fchmod(fd, 0o400)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        )
        os.set_inheritable(fd, True)
    except OSError as error:
        raise Failure(f"the compiled policy cannot be handed to the launcher: {error.strerror}") from error
    return fd
