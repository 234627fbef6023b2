"""Questions, a clock and a surface for the tests of whoever asks people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scmm_oci.enforcer.monitor.model import Call, Process, Target
from scmm_oci.enforcer.monitor.questions import Question, Shown
from scmm_oci.tables.arch import Arch


@dataclass(frozen=True)
class Limits:
    pending: int = 64
    per_target: int = 8
    per_minute: int = 30


@dataclass
class Clock:
    """A clock that stands until it is told otherwise."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Seen:
    """A surface that keeps what it was told to show."""

    is_open: bool = True
    shown: Shown | None = None
    history: list[Shown | None] = field(default_factory=list)
    is_closed: bool = False
    changed: Callable[[], None] = lambda: None

    def attach(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def show(self, shown: Shown | None) -> None:
        self.shown = shown
        self.history.append(shown)

    def close(self) -> None:
        self.is_closed = True

    def open(self, is_open: bool) -> None:
        self.is_open = is_open
        self.changed()


def target(name: str = "web-1") -> Target:
    return Target(id=f"id-of-{name}", name=name, pid=4000, bundle="")


def process(pid: int = 4711, **changes: Any) -> Process:
    values: dict[str, Any] = {
        "pid": pid,
        "tid": pid,
        "executable": "/usr/sbin/nginx",
        "comm": "nginx",
        "uid": 33,
        **changes,
    }
    return Process(**values)


OPENAT = Call(arch=Arch.X86_64, audit=0xC000003E, nr=257, name="openat", args=(0xFFFFFF9C, 0x7FFE0000, 0, 0, 0, 0))


def question(key: object = "openat", *, deadline: float = 1030.0, **changes: Any) -> Question:
    values: dict[str, Any] = {
        "key": key,
        "target": target(),
        "process": process(),
        "call": OPENAT,
        "words": 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)',
        "deadline": deadline,
        "paths": ("/etc/passwd",),
        **changes,
    }
    return Question(**values)
