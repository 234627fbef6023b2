"""A container that waits, what is executed in it, and the policy that is learnt of both from recordings of its own."""

from __future__ import annotations

from pathlib import Path

from recordings import await_capture, recorded
from support import Hooks

from rig.engine import Engine
from rig.process import wait_until
from scmm_oci.cli.main import main
from scmm_oci.enforcer.store import Store
from scmm_oci.watch import session

NAME = "waits"
#: What the container does, once it is learnt; and a health check. One thread each, so the order is always the same.
WAITS = ("sh", "-c", 'read line </etc/passwd; echo "begun $line"; exec sleep 1000')
HEALTH = ("sh", "-c", 'read line </etc/group; echo "$line"')
#: Calls that are learnt, in an order that is not: a file is opened to write. That call is made still (docs/watch.md).
WRONG = ("sh", "-c", 'echo made >/tmp/made; read line </etc/group; echo "$line"')
LOOK = ("sh", "-c", 'read line </tmp/made; echo "$line"')


def started(engine: Engine, image: str, *options: str) -> str:
    """The container, when it has done all but wait."""
    name = engine.run_detached(image, *WAITS, options=options)
    wait_until(lambda: "root:" in engine.logs(name), deadline_s=30, what="the container's line")
    return name


def learn(engine: Engine, image: str, hooks: Hooks, place: Path) -> Path:
    """The compiled policy of a recording of the container, which is in the hooks' store, too."""
    name = started(engine, image, *recorded(NAME))
    assert engine.exec(name, *HEALTH).stdout.startswith("root:")
    engine.rm(name)
    capture, policy, compiled = await_capture(hooks, NAME), place / f"{NAME}.scmm.yaml", place / f"{NAME}.scmm-pol"
    words = ["--transitions", "--refine", "--no-files", "--non-interactive"]
    assert main(["extract", "-i", str(capture), "-o", str(policy), *words]) == 0
    assert main(["compile", "-i", str(policy), "-o", str(compiled)]) == 0
    Store(hooks.settings.policy_dir).add(NAME, compiled.read_bytes(), replace=True)
    return compiled


def asked(action: str, *, policy: str = NAME) -> list[str]:
    return [f"--annotation=scmm.watch={action}", f"--annotation=scmm.policy={policy}"]


def made(engine: Engine, name: str) -> str:
    """What the wrong order wrote; looked at in an order that was learnt."""
    return engine.exec(name, *LOOK).stdout.strip()


def ended(hooks: Hooks, identity: str, *, lines: int) -> list[str]:
    """What the log has of a watch that has ended: a line on all, and one for each alert; without times.

    identity: the container's id. lines: how many there are to be: the hook may still be at work, as may the recorder's.
    """
    subject = f"container {identity}: "

    def found() -> list[str]:
        lines = [line.partition(" ")[2] for line in hooks.log().splitlines()]
        mine = [line.removeprefix(subject) for line in lines if line.startswith(subject)]
        return [line for line in mine if "system calls, " not in line]

    wait_until(lambda: len(found()) >= lines, deadline_s=30, what=f"{lines} lines on its end", detail=hooks.log)
    return found()


def identity(engine: Engine, name: str) -> str:
    return str(engine.inspect(name)["Id"])


def nothing_is_left(hooks: Hooks) -> bool:
    """Neither pins nor entries of a watch."""
    return not session.entries(hooks.settings) and not Path(hooks.settings.watch_pin_dir).exists()
