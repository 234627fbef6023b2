"""The server of tests/payload/watch_attacks.c at work in a cgroup, asked for normal work and for attacks.

What an attack was to reach is looked for from outside (`EFFECTS`): files, another process's memory, a socket's peer.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from support import ROOT

from rig.mounts import mounted_type, unmount_below
from rig.process import wait_until

DEADLINE_S = 60.0
FILES = {"config": "config\n", "secret": "secret\n", "target": "precious\n"}
OTHERS = 65534


def build(directory: Path) -> Path:
    """The server, compiled."""
    program = directory / "watch_attacks"
    words = ("gcc", "-O2", "-static", "-no-pie", "-Wall", "-Wextra", "-Werror", "-o", program)
    subprocess.run([*words, ROOT / "tests/payload/watch_attacks.c"], check=True)
    return program


@dataclass
class Scene:
    """A server that was started: where it is, whom it could reach, and what it has answered."""

    directory: Path
    outside: socket.socket
    port: int = 0
    victim: int = 0
    canary: int = 0
    pidfd: int = -1
    answers: list[bytes] = field(default_factory=list)

    def ready(self, output: IO[bytes]) -> None:
        """Take what the server says when it has started up."""
        words = output.readline().split()
        assert words[:1] == [b"ready"], words
        self.port, self.victim, self.canary = map(int, words[1:])
        self.pidfd = os.pidfd_open(self.victim)

    def ask(self, word: str) -> bytes:
        """What it answers until it closes the connection, or is gone."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE_S) as connection:
            connection.sendall(word.encode())
            while part := _received(connection):
                answer += part
        self.answers.append(answer)
        return answer

    def answered(self, text: bytes) -> bool:
        return any(text in answer for answer in self.answers)

    def memory(self) -> int:
        """The victim's canary: 1, if nobody has written there."""
        with open(f"/proc/{self.victim}/mem", "rb") as file:
            file.seek(self.canary)
            return int.from_bytes(file.read(8), "little")

    def connected(self) -> bool:
        """Whether somebody has connected to the listener outside."""
        return bool(select.select([self.outside], [], [], 0)[0])

    def killed(self) -> bool:
        """Whether the victim has ended."""
        return bool(select.select([self.pidfd], [], [], 0)[0])

    @property
    def target(self) -> Path:
        return self.directory / "target"


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except ConnectionResetError:  # it had not read everything when it was killed
        return b""


def _marked(scene: Scene) -> bool:
    return os.path.lexists(scene.directory / "mark")


def _written(scene: Scene) -> bool:
    return scene.memory() != 1


# Attack → whether it has reached what it was to reach; of all others: there is a file "mark".
_EFFECTS: dict[str, Callable[[Scene], bool]] = {
    "mimic": lambda scene: not scene.target.exists(),
    "argument": lambda scene: scene.answered(b"secret"),
    "connect": Scene.connected,
    "send": lambda scene: scene.answered(b"leak"),
    "sendfile": lambda scene: scene.answered(b"precious"),
    "sendmsg": lambda scene: scene.answered(b"leak"),
    "exfiltrate": lambda scene: scene.answered(b"secret"),
    "truncate": lambda scene: not scene.target.stat().st_size,
    "overwrite": lambda scene: scene.target.read_text().startswith("ATTACK"),
    "unlink": lambda scene: not scene.target.exists(),
    "chmod": lambda scene: bool(scene.target.stat().st_mode & 0o4000),
    "chown": lambda scene: scene.target.stat().st_uid == OTHERS,
    "mount": lambda scene: mounted_type(scene.directory / "run") is not None,
    "kill": Scene.killed,
    "ptrace": _written,
    "vm-write": _written,
    "mem-write": _written,
}


def effect(scene: Scene, attack: str) -> bool:
    """Whether an attack has reached what it was to reach."""
    return _EFFECTS.get(attack, _marked)(scene)


@contextmanager
def scene(base: Path, name: str) -> Iterator[Scene]:
    """A directory with the files that the server takes, and a listener on loopback; both go at the end."""
    directory = base / name
    directory.mkdir()
    directory.chmod(0o777)  # for those who are not root any more
    for each, text in FILES.items():
        (directory / each).write_text(text)
    with ExitStack() as stack:
        outside = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        made = Scene(directory, outside)
        stack.callback(unmount_below, directory)
        yield made
        if made.pidfd >= 0:
            os.close(made.pidfd)


class Server:
    """A server, started in a cgroup. At the end it is asked to end, or is found ended; nothing of it is left."""

    def __init__(self, program: Path, scene: Scene, cgroup: Path) -> None:
        self.program, self.scene, self.cgroup = program, scene, cgroup

    def __enter__(self) -> Self:
        procs = self.cgroup / "cgroup.procs"
        words = [self.program, self.scene.directory, str(self.scene.outside.getsockname()[1])]
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=lambda: procs.write_text("0"), env={}
        )
        assert self.process.stdout is not None
        self.scene.ready(self.process.stdout)
        return self

    def ended(self) -> int:
        """How it ended, when it has; it must be about to."""
        return self.process.wait(DEADLINE_S)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.cgroup / "cgroup.kill").write_text("1")
        self.process.communicate()
        wait_until(self.scene.killed, deadline_s=DEADLINE_S, what="the victim has ended")


class Machine(StrEnum):
    """What a watch is told of the server: of which decisions its policy is made."""

    PLAIN = "plain"  # single steps, calls without classes
    REFINED = "refined"  # classes, beginnings
    DEEP = "deep"  # … and what came before the call before
    SERVING = "serving"  # … another machine from listen on


@dataclass(frozen=True)
class Attack:
    """What is tried: in words, the first edge that no machine has, and whether a kill comes before the effect.

    Attributes:
        needs: the least of what a watch must know to see it; None: no watch does.
        spares: the server goes on when the one who did it is killed.
    """

    title: str
    edge: str = ""
    stopped: bool = True
    needs: Machine | None = Machine.PLAIN
    spares: bool = False

    @property
    def row(self) -> str:
        """The line of the table in docs/watch.md."""
        if self.needs is None:
            return f"| {self.title} | – | not seen |"
        seen = "" if self.needs is Machine.PLAIN else f" ({self.needs})"
        return f"| {self.title} | `{self.edge}`{seen} | {'stopped before' if self.stopped else 'happened'} |"


HEAD = "| what is tried | first edge that is flagged | with `kill` |"
_READ = "recvfrom > "
ATTACKS = {
    "exec": Attack("a shell in its place, `execve`", _READ + "execve"),
    "execveat": Attack("a shell in its place, `execveat`", _READ + "execveat"),
    "exec-child": Attack("a shell in a child, `clone` and `execve`", _READ + "clone"),
    "memfd-exec": Attack("a program out of memory, `memfd_create` and `execveat`", _READ + "memfd_create"),
    "reverse-shell": Attack("a shell that connects out, `socket`, `connect`, `dup2`, `execve`", _READ + "socket:inet"),
    "client-shell": Attack("a shell on the attacker's own connection, `dup2`, `execve`", _READ + "dup2"),
    "bind-shell": Attack("a new listener, `socket`, `bind`, `listen`", _READ + "socket:inet"),
    "connect": Attack("a connection out on a socket that there is, `connect`", _READ + "connect", stopped=False),
    "send": Attack("bytes sent to the attacker, `sendto`", _READ + "sendto", stopped=False),
    "sendmsg": Attack("bytes sent to the attacker, `sendmsg`", _READ + "sendmsg", stopped=False),
    "sendfile": Attack("a file's bytes sent to the attacker, `sendfile`", _READ + "sendfile"),
    "exfiltrate": Attack("a secret file opened, read and sent", _READ + "openat:read"),
    "create": Attack("a file made, `openat` with `O_CREAT`", _READ + "openat:write", stopped=False),
    "truncate": Attack("a file emptied, `openat` with `O_TRUNC`", _READ + "openat:write", stopped=False),
    "overwrite": Attack("a file overwritten, `pwrite64`", _READ + "pwrite64"),
    "unlink": Attack("a file removed, `unlink`", _READ + "unlink", stopped=False),
    "rename": Attack("a file renamed, `rename`", _READ + "rename", stopped=False),
    "chmod": Attack("a set-user-ID bit, `chmod`", _READ + "chmod", stopped=False),
    "chown": Attack("a file given away, `lchown`", _READ + "lchown", stopped=False),
    "symlink": Attack("a symbolic link, `symlink`", _READ + "symlink", stopped=False),
    "mkdir": Attack("a directory, `mkdir`", _READ + "mkdir", stopped=False),
    "mount": Attack("a file system mounted, `mount`", _READ + "mount", stopped=False),
    "unshare": Attack("a namespace of its own, `unshare`, and work in it", _READ + "unshare"),
    "clone-namespace": Attack("a child in a namespace of its own, `clone`", _READ + "clone"),
    "setuid": Attack("another user, `setresuid`, and work as that", _READ + "setresuid"),
    "kill": Attack("another process killed, `kill`", _READ + "kill", stopped=False),
    "ptrace": Attack("another process's memory changed, `ptrace`", _READ + "ptrace"),
    "vm-write": Attack("another process's memory changed, `process_vm_writev`", _READ + "process_vm_writev"),
    "mem-write": Attack("another process's memory changed, `/proc/PID/mem`", _READ + "openat:write"),
    "mprotect": Attack("code in data, `mprotect` and a jump", _READ + "mprotect:exec"),
    "mmap": Attack("code in new memory, `mmap` and a jump", _READ + "mmap:exec"),
    "memfd-mmap": Attack("code in a file of memory, `memfd_create`, `mmap`, a jump", _READ + "memfd_create"),
    "sigreturn": Attack("registers out of a forged frame, `rt_sigreturn`", _READ + "rt_sigreturn"),
    "int80": Attack("a call of another ABI, `int 0x80`", "no-machine", stopped=False),
    "handler": Attack("a signal handler replaced", "signal > mkdir", stopped=False),
    "thread": Attack("what a new thread begins with replaced", "start:thread > mkdir", stopped=False),
    "child": Attack("what a new process begins with replaced", "start:fork > mkdir", stopped=False, spares=True),
    "class": Attack("a file made where one is read", "write > openat:write", stopped=False, needs=Machine.REFINED),
    "mimic": Attack("a call after one that it follows elsewhere", "write > unlink", stopped=False, needs=Machine.DEEP),
    "late": Attack("a call of start-up, where start-up has it", "write > mkdir", stopped=False, needs=Machine.SERVING),
    "argument": Attack("another file, where one is read", needs=None),
}
