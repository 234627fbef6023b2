"""The processes of an engine's container, as this host's /proc shows them: what they execute, and under which filter.

Facts relied on: proc(5) (exe, root, ns/pid, status, stat), pid_namespaces(7): signals from outside stop a namespace's
first process as well.
"""

from __future__ import annotations

import os
import signal
import struct
from contextlib import suppress
from pathlib import Path

from scmm_oci.tables.arch import Arch

# A loop, in each machine's instructions: x86 JMP, ARM B; both to themselves.
_LOOPS = {Arch.X86_64: (62, b"\xeb\xfe"), Arch.AARCH64: (183, b"\x00\x00\x00\x14")}
_BASE = 0x400000


def idle(machine: Arch) -> bytes:
    """A program that makes no system call, and so runs under every filter: a static ELF file (elf(5)).

    Raises:
        KeyError: there is none for this machine.
    """
    number, loop = _LOOPS[machine]
    head, program = 64, 56
    size = head + program + len(loop)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, _BASE + head + program, head, 0, 0, head, program, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + loop


def program_of(pid: int) -> str:
    """The file that a process executes, as its container sees it; "" if that is not of the container, or it is gone.

    A runtime that has not executed the program yet is in the container's root, and its own file is not.
    """
    try:
        root = os.stat(f"/proc/{pid}/root")
        path = os.readlink(f"/proc/{pid}/exe")
        same = os.path.samestat(os.stat(f"/proc/{pid}/exe"), os.stat(f"/proc/{pid}/root{path}"))
    except OSError:
        return ""
    return path if same and not os.path.samestat(root, os.stat("/")) else ""


def entered(first: int) -> int:
    """The process that has come into the PID namespace of ``first`` from outside; 0 if there is none."""
    try:
        namespace = os.readlink(f"/proc/{first}/ns/pid")
    except OSError:
        return 0
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, IndexError, ValueError):
            if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                # The name, in brackets, may have anything in it: proc_pid_stat(5).
                parents[int(name)] = int(Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()[1])
    return min((pid for pid, parent in parents.items() if pid != first and parent not in parents), default=0)


def hold(pid: int) -> None:
    """Stop a process, so that it takes no processor; one that is gone is stopped."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)


def confinement(pid: int) -> tuple[bool, bool] | None:
    """(has a seccomp filter, has no-new-privileges); None if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return found.get("Seccomp") == "2", found.get("NoNewPrivs") == "1"
