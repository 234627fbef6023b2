"""Containers of every kind whose calls wait at a monitor's socket, and a program of scmm-enforce's beside them.

All run one script: it makes a directory that is refused, one that is allowed by its path, a file in each, and says
what came of it. Then it waits for a signal, makes a third directory, and ends.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import enforce
from recording import as_from_a_shell

from rig import images
from rig.engine import Engine
from rig.process import wait_until
from rig.runc import Bundle, Config
from scmm_oci.policy.model import Action, Policy, Settings, SyscallRule

DEADLINE_S = 60.0
_O_CREAT = 0o100
# An error that no file system of these tests gives, as busybox and coreutils have it in words.
ERRNO, REFUSED = "EDOM", "Numerical argument out of domain"
GONE = "Function not implemented"
PLACE = "/run"  # in containers

SCRIPT = """
at=$1
trap 'mkdir "$at/late"; echo "late $?"; test -e "$at/late" && echo "there late"; echo over; exit' USR1
mkdir "$at/no"; echo "no $?"
mkdir "$at/yes"; echo "yes $?"
(echo text >"$at/yes/file"); echo "file $?"
(echo text >"$at/other"); echo "other $?"
for each in "$at"/*; do test -e "$each" && echo "there ${each##*/}"; done
test -s "$at/yes/file" && echo "there yes/file"
echo done
while :; do sleep 1 & wait $!; done
"""
# What it says where the rules below hold, without the messages.
AS_RULED = ["no 1", "yes 0", "file 0", "other 2", "there yes", "there yes/file", "done"]
AS_RULED_BUSYBOX = [line.replace("other 2", "other 1") for line in AS_RULED]


def rules(*places: str, also: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """What is allowed below `places`, by its path; the rest is refused, unless `also` decides otherwise."""
    files: list[dict[str, Any]] = [
        {"syscalls": ["mkdir", "mkdirat"], "path": f"{place}/yes", "decision": "allow"} for place in places
    ]
    files += [{"syscalls": ["open", "openat"], "path": f"{place}/yes/**", "decision": "allow"} for place in places]
    # A program's own libraries: what makes no file is none of this. In containers the filter says so.
    reading = {
        "syscalls": ["openat"],
        "args": [{"arg": 2, "type": "flags", "denied": ["O_CREAT"]}],
        "decision": "allow",
    }
    return [
        reading,
        *files,
        *also,
        {"syscalls": ["mkdir", "mkdirat", "open", "openat"], "decision": "deny", "errno": ERRNO},
    ]


def seccomp(socket: Path, name: str, *, calls: Sequence[str] = ("mkdir", "mkdirat")) -> dict[str, Any]:
    """linux.seccomp, or a profile: these calls wait, and so does whatever makes a file; all others are allowed."""
    flags = {"value": _O_CREAT, "valueTwo": _O_CREAT, "op": "SCMP_CMP_MASKED_EQ"}
    creating = [
        {"names": [name], "action": "SCMP_ACT_NOTIFY", "args": [{"index": index, **flags}]}
        for name, index in (("open", 1), ("openat", 2))
    ]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(socket),
        "listenerMetadata": name,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": list(calls), "action": "SCMP_ACT_NOTIFY"}, *creating],
    }


def bundle(
    runtime: str,
    socket: Path,
    name: str,
    *,
    script: str = SCRIPT,
    nnp: bool = True,
    calls: Sequence[str] = ("mkdir", "mkdirat"),
) -> Bundle:
    """A raw bundle. nnp: noNewPrivileges; without it the runtime loads the filter before it has dropped anything."""

    def edit(config: Config) -> None:
        config["process"]["noNewPrivileges"] = nnp
        config["linux"]["seccomp"] = seccomp(socket, name, calls=calls)

    return Bundle(
        images.busybox(), example="busybox-sh", runtime=runtime, args=["sh", "-c", script, "sh", PLACE], edit=edit
    )


@dataclass
class Raw:
    """A bundle that was started."""

    made: Bundle

    def said(self) -> str:
        return self.made.log.read_text()

    def again(self, *words: str) -> str:
        """What another process in it says."""
        done = self.made.exec(*words, check=False)
        return done.stdout + done.stderr

    def signal(self) -> None:
        self.made.kill("USR1")


@dataclass
class Engined:
    """A container of an engine's."""

    engine: Engine
    name: str

    def said(self) -> str:
        return self.engine.logs(self.name)

    def again(self, *words: str) -> str:
        done = self.engine.exec(self.name, *words, check=False)
        return done.stdout + done.stderr

    def signal(self) -> None:
        self.engine.kill(self.name, signal="USR1")


def podman(engine: Engine, image: str, socket: Path, name: str, directory: Path) -> Engined:
    """A container of podman's, whose profile has the listener. It stays until it is removed."""
    profile = directory / f"{name}.json"
    profile.write_text(json.dumps(seccomp(socket, name)))
    options = [f"--security-opt=seccomp={profile}"]
    return Engined(engine, engine.run_detached(image, "sh", "-c", SCRIPT, "sh", PLACE, options=options))


def started(one: Bundle) -> Raw:
    one.create()
    one.start()
    return Raw(one)


def told(one: Raw | Engined | Program, line: str = "done") -> list[str]:
    """The lines that it has said, once this one is among them; those of its messages are left out."""

    def there() -> list[str]:
        lines = one.said().splitlines()
        return lines if line in lines else []

    lines = wait_until(there, deadline_s=DEADLINE_S, what=f"{line!r} said", detail=one.said)
    return [each for each in lines if ":" not in each]


def log(path: Path) -> list[Mapping[str, Any]]:
    """The monitor's log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class Program:
    """A program of scmm-enforce's, which runs the script in a directory of the host's."""

    def __init__(self, socket: Path, directory: Path, *options: str) -> None:
        self._output = directory / "said"
        self.place = directory / "place"
        self.place.mkdir()
        rules = tuple(SyscallRule(name, Action.NOTIFY) for name in ("mkdir", "mkdirat", "openat"))
        policy = Policy(settings=Settings(default_action=Action.ALLOW), syscalls=rules)
        words = ["-p", enforce.stored(enforce.bytes_of(policy)), "--listener", socket, *options]
        with self._output.open("wb") as sink:
            self.process = subprocess.Popen(
                [enforce.launcher(), *words, "--", "sh", "-c", SCRIPT, "sh", self.place],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                preexec_fn=as_from_a_shell,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self._output.read_text()

    def signal(self) -> None:
        self.process.send_signal(signal.SIGUSR1)
