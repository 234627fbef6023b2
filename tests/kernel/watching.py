"""One watch in the kernel, on tests/payload/watched.c: which makes the calls that its words say, and no others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from recording import as_from_a_shell
from support import ROOT

from rig.cgroup import cgroup_path, child_cgroup
from rig.process import wait_until
from scmm_oci.compiled.polfile import codes
from scmm_oci.compiled.polfile import model as compiled
from scmm_oci.kernel.cgroup import Place
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import machine, pins, slots, wire
from scmm_oci.watch.wire import Alert, WatchValue

MACHINE = os.uname().machine
NUMBERS = syscalls.numbers("x86_64")
NARROW = syscalls.numbers("x86")
DEADLINE_S = 60.0
_OPTIONS = ("-O1", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-no-pie")

Rows = Mapping[str, Sequence[str]]


def build(directory: Path, *, narrow: bool = False) -> Path:
    """The program, of 32 bits where `narrow`."""
    path = directory / ("narrow" if narrow else "program")
    options = (*_OPTIONS, "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function")
    source = ROOT / "tests/payload/watched.c"
    subprocess.run(["gcc", "-m32" if narrow else "-m64", *options, "-o", path, source], check=True)
    return path


def call(name: str, *arguments: object) -> str:
    """The word for a call."""
    return ",".join(map(str, ("c", NUMBERS[name], *arguments)))


def narrow(name: str, *arguments: object) -> str:
    """The word for a call of the 32-bit ABI."""
    return ",".join(map(str, ("C", NARROW[name], *arguments)))


def chain(*names: str) -> dict[str, list[str]]:
    """Rows by which each of these may follow the one before, and no other."""
    rows: dict[str, list[str]] = {}
    for state, to in pairwise(names):
        rows.setdefault(state, []).append(to)
    return rows


def both(*several: Rows) -> dict[str, list[str]]:
    """Rows that have what any of these has."""
    rows: dict[str, list[str]] = {}
    for one in several:
        for state, following in one.items():
            rows.setdefault(state, []).extend(following)
    return rows


def _edges(rows: Rows, arch: Arch) -> tuple[tuple[int, int], ...]:
    """Without calls that the ABI lacks."""
    found = {
        (codes.code_of(state, arch), codes.called_code(to, arch))
        for state, following in rows.items()
        for to in following
    }
    return tuple(sorted((state, to) for state, to in found if state is not None and to is not None))


def _code(word: str, arch: Arch, *, called: bool = False) -> int:
    found = codes.called_code(word, arch) if called else codes.code_of(word, arch)
    assert found is not None, word
    return found


def _deep(rows: Rows, arch: Arch) -> tuple[tuple[int, int, int], ...]:
    """Of rows whose keys are ``A > B``."""
    found = set()
    for key, following in rows.items():
        before, state = (_code(word, arch) for word in key.split(" > "))
        found |= {(before, state, _code(to, arch, called=True)) for to in following} or {
            (before, state, compiled.NOTHING)
        }
    return tuple(sorted(found))


def policy(
    rows: Rows | None,
    *,
    serving: Rows | None = None,
    switches: Iterable[str] = (),
    deep: Rows | None = None,
    serving_deep: Rows | None = None,
    arches: Iterable[Arch] = (Arch.X86_64,),
) -> compiled.PolicyFile:
    """A compiled policy with nothing but transitions. Keys of `deep` are ``A > B``."""
    arches = tuple(arches)
    beyond = tuple(
        compiled.Machine(
            arch,
            tuple(_code(word, arch) for word in switches if word in syscalls.numbers(arch))
            if serving is not None
            else None,
            _edges(serving or {}, arch),
            _deep(deep or {}, arch),
            _deep(serving_deep or {}, arch),
        )
        for arch in arches
    )
    return compiled.PolicyFile(
        filters=(),
        ruleset=None,
        identity=compiled.Identity(),
        transitions=tuple(compiled.Transitions(arch, _edges(rows, arch)) for arch in arches)
        if rows is not None
        else (),
        metadata=compiled.Metadata(),
        watch=compiled.Watch("alert", beyond),
    )


@dataclass
class Watched:
    """A watch that runs, or is over."""

    maps: pins.Maps
    number: int
    epoch: int
    cgroup: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def value(self) -> WatchValue:
        return slots.value_of(self.maps, self.number)

    def count(self, name: str) -> int:
        return self.value.counters[name]

    @property
    def alerts(self) -> list[Alert]:
        return slots.alerts_since(self.maps, self.number, epoch=self.epoch, after=0)[0]

    @property
    def edges(self) -> list[tuple[str, str]]:
        """What was told: state and call, in words."""
        return [(edge[-2], edge[-1]) for edge in self.told]

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """The same, with what was before the state; "" where that is not known."""

        def word(number: int | None, abi: int) -> str:
            if number is None:
                return ""
            arch = wire.ARCHES[MACHINE][abi]
            return "any" if number == wire.ANY else states.words(arch).get(number, str(number))

        return [
            (word(each.before, each.abi), word(each.state, each.abi), word(each.to, each.abi)) for each in self.alerts
        ]

    def start(self, program: Path, *words: str, inside: bool = True, **options: Any) -> subprocess.Popen[bytes]:
        """Start the program, in the cgroup from before it is executed; its streams are pipes."""

        def before() -> None:
            as_from_a_shell()
            if inside:
                (self.cgroup / "cgroup.procs").write_text("0")

        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([program, *words], preexec_fn=before, **{**pipes, **options})
        self.started.append(process)
        return process

    def run(self, program: Path, *words: str, **options: Any) -> int:
        """The same to its end; its status as subprocess has it."""
        process = self.start(program, *words, **options)
        process.communicate(timeout=DEADLINE_S)
        return process.returncode

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        slots.end(self.maps, self.number, busy=False)  # nobody is left whom the programs could judge


class Kernel:
    """The watch, loaded and pinned for a module's tests."""

    def __init__(self, maps: pins.Maps, directory: str, cgroup: Path) -> None:
        self.maps, self.directory = maps, directory
        self._epoch = 0
        self._free = [cgroup]

    @contextmanager
    def watch(
        self,
        file: compiled.PolicyFile,
        *,
        action: str = "alert",
        attached: bool = False,
        cgroup: Path | None = None,
        number: int = 0,
        mntns: int = 0,
        launcher: tuple[int, int] | None = None,
        place: Place | None = None,
    ) -> Iterator[Watched]:
        """Watch a cgroup, a new one unless one is given, in this slot. place: what it is, if not one of cgroup v2."""
        self._epoch += 1
        if cgroup is None:
            # Making and removing one for each would be most of what tests take.
            with ExitStack() as stack:
                made = self._free.pop() if self._free else stack.enter_context(child_cgroup("watch", empty_s=5.0))
                try:
                    options = {"number": number, "mntns": mntns, "launcher": launcher}
                    yield stack.enter_context(
                        self.watch(file, action=action, attached=attached, cgroup=made, **options)  # type: ignore[arg-type]
                    )
                finally:
                    stack.pop_all().close()
                    if made.exists():
                        self._free.append(made)
            return
        watched = Watched(self.maps, number, self._epoch, cgroup)
        slots.begin(
            self.maps,
            number,
            epoch=self._epoch,
            place=place or place_of(cgroup),
            mntns=mntns,
            machines=machine.machines_of(file, machine=MACHINE),
            action=action,
            name="test",
            attached=attached,
            launcher=launcher,
        )
        try:
            yield watched
        finally:
            watched.end()


def place_of(cgroup: Path) -> Place:
    return Place(hierarchy=0, controller="", path=cgroup_path(cgroup), id=cgroup.stat().st_ino, directory=str(cgroup))


@contextmanager
def loaded(directory: Path) -> Iterator[Kernel]:
    """Load the watch, with pins and notes of the test's own."""
    where = f"/sys/fs/bpf/scmm-watching-{os.getpid()}-{directory.name}"
    pins.load(where, run_dir=str(directory), machines=16)
    try:
        with pins.Maps(where) as maps, child_cgroup("watching", empty_s=5.0) as cgroup:
            yield Kernel(maps, where, cgroup)
    finally:
        pins.remove(where)


def await_output(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Wait until the program has written this; it writes nothing else meanwhile."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    found = b""

    def look() -> bool:
        nonlocal found
        assert process.stdout is not None
        found += process.stdout.read(len(text)) or b""
        return len(found) >= len(text)

    wait_until(look, deadline_s=DEADLINE_S, what=f"{text!r} written")
    assert found == text


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Give the program the byte that it waits for."""
    assert process.stdin is not None
    process.stdin.write(b"x")
    process.stdin.flush()
