"""Our two hooks by themselves: the processes a runtime starts, fed the state of a real container, timed one by one."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.ground import PROGRAM, Ground
from rig.process import run

TITLES = {
    "prestart": "prestart",
    "poststop": "poststop",
    "first_prestart": "prestart, first of the boot",
    "interpreter": "sh and interpreter, doing nothing",
}


def measure(ground: Ground, number: int, *, first: bool = False) -> dict[str, float]:
    """Seconds of one prestart and one poststop hook; `first`: with an empty run directory, as after a boot.

    The container is created without hooks and waits in runc's init, as it does while a runtime runs prestart hooks;
    then it is recorded, started and ends. Raises ProductError.
    """
    name, engine = f"alone-{number}", ground.engine
    if first:
        shutil.rmtree(ground.settings.run_dir, ignore_errors=True)
    engine("create", "--name", name, *ground.words({}), ground.image, *PROGRAM)
    engine("init", name)
    found = engine.inspect(name)
    bundle = Path(found["OCIConfigPath"]).parent
    config = json.loads((bundle / "config.json").read_bytes())
    state = {
        "ociVersion": config["ociVersion"],
        "id": found["Id"],
        "bundle": str(bundle),
        "annotations": {**config.get("annotations", {}), "scmm.record": "true", "scmm.name": name},
    }
    started = _hook(ground, "prestart", {**state, "status": "creating", "pid": found["State"]["Pid"]})
    engine("start", "--attach", name)
    stopped = _hook(ground, "poststop", {**state, "status": "stopped"})
    ground.take_capture(name)
    engine("rm", name)
    ground.settle()
    if first:
        return {"first_prestart": started}
    return {"prestart": started, "poststop": stopped, "interpreter": interpreter(ground)}


def interpreter(ground: Ground) -> float:
    """Seconds from sh to the end of an empty program in the interpreter that the starter names."""
    line = re.search(r"^python=(.*)$", ground.starter.read_text(), re.MULTILINE)
    assert line, "the starter names its interpreter"
    return run(["/bin/sh", "-c", 'exec "$0" -I -S -c pass', *shlex.split(line[1])], env={}).seconds


def _hook(ground: Ground, stage: str, state: Mapping[str, object]) -> float:
    # Runtimes give hooks a bare environment.
    return run([ground.starter, stage], input=json.dumps(state), env={}).seconds
