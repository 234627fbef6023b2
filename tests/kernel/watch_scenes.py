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
