"""Recording a process that is timed: the installed hook pair, called as a runtime would, around slices of calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ground import Ground, ProductError
from benchmarks.processes import Loop
from benchmarks.tracers import Tracer
from rig.process import run
from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture
from scmm_oci.errors import BadInput

#: Kind of round → the system calls that it consists of.
KINDS = {
    "getppid": ("getppid",),
    "open": ("openat", "close"),
    "stat": ("newfstatat",),
    "read": ("read",),
    "mmap": ("mmap", "munmap"),
    "connect": ("connect",),
}
_CONFIG = {"process": {"args": ["loop"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True}, "linux": {}}


class Recorded(Tracer):
    """Ours, with everything on. A process that has executed a program since recording began is the program."""

    key, title = "ours", "recorded by us, everything on"

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground, self._number = ground, 0

    def programs(self) -> int:
        return len(list(Path(self.ground.settings.pin_dir).glob("link_*")))

    @contextmanager
    def attached(self, loop: Loop) -> Iterator[None]:
        self._number += 1
        name = f"loop-{self._number}"
        bundle = self.ground.empty_dir(f"bundle-{name}")
        (bundle / "config.json").write_text(json.dumps(_CONFIG))
        state = {
            "ociVersion": "1.0.2",
            "id": name,
            "pid": loop.pid,
            "bundle": str(bundle),
            "annotations": {"scmm.record": "true", "scmm.name": name},
        }
        self._hook("prestart", {**state, "status": "creating"})
        try:
            loop.execute_again()
            yield
        finally:
            self._hook("poststop", {**state, "status": "stopped"})
        pins = Path(self.ground.settings.pin_dir)
        if pins.exists():
            raise ProductError(f"{self.title}: the recorder is still pinned in {pins}")
        self._take(name, loop.made)

    def _hook(self, stage: str, state: Mapping[str, object]) -> None:
        run([self.ground.starter, stage], input=json.dumps(state), env={})

    def _take(self, name: str, made: Mapping[str, int]) -> None:
        capture = taken(self.ground, name)
        problem = difference(capture, made)
        if problem:
            raise ProductError(f"{name}: {problem}")
        self.check(made["getppid"], made["getppid"])


def taken(ground: Ground, name: str) -> Capture:
    """The capture of that name, read and removed. Raises ProductError where there is none that can be read."""
    path = Path(ground.settings.capture_dir) / f"{name}.scmm-cap"
    if not path.exists():
        raise ProductError(f"no capture {path.name}; the hooks' log ends with: {ground.log()[-2000:] or '(nothing)'}")
    try:
        return capture_file.read(path)
    except BadInput as error:
        raise ProductError(f"a capture that cannot be read: {error}") from None
    finally:
        path.unlink()


def difference(capture: Capture, made: Mapping[str, int]) -> str:
    """How the program's calls in a capture of the loop differ from the rounds that it made, in words; "" if not.

    What the loop calls besides, to be told what to do, is allowed for.
    """
    if not capture.complete:
        return f"not complete: {[loss.kind for loss in capture.losses]}"
    counts = {call.name: call.entered for call in capture.sessions[0].app}
    wrong = []
    for kind, rounds in made.items():
        for name in KINDS[kind]:
            found = counts.get(name, 0)
            # Each slice takes one line to read, and starting a static program a few calls of most kinds.
            besides = 0 if kind in ("getppid", "connect") else 2000
            if not rounds <= found <= rounds + besides:
                wrong.append(f"{name} {found} times, made {rounds} times")
    return ", ".join(wrong)
