"""crun where a container's limits cannot all be set: this goes before it as a runtime, and edits config.json.

crun on cgroup v2 raises RLIMIT_MEMLOCK before it loads a device filter, and fails without CAP_SYS_RESOURCE; and it
fails where a limit is given that the cgroup's controllers do not have (Docker always gives one of `io`, which has no
effect). So rules that deny a device are taken out, and block I/O. `--privileged`, which does so too, drops the seccomp
profile with them. Run as a file, with an empty environment; standard library only.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

_STARTER = '#!/bin/sh\nexec {python} -I -S {file} {crun} "$@"\n'


def starter(directory: Path, crun: str) -> Path:
    """A runtime called crun, which is the one at the given path."""
    path = directory / "crun"
    path.write_text(_STARTER.format(python=sys.executable, file=Path(__file__).resolve(), crun=crun))
    path.chmod(0o755)
    return path


def _edit(path: Path) -> None:
    config = json.loads(path.read_text())
    resources = config.get("linux", {}).get("resources", {})
    resources["devices"] = [rule for rule in resources.get("devices") or [] if rule.get("allow")]
    resources.pop("blockIO", None)
    path.write_text(json.dumps(config))


if __name__ == "__main__":
    crun, *words = sys.argv[1:]
    for option, value in itertools.pairwise(words):
        if option in ("--bundle", "-b"):
            _edit(Path(value, "config.json"))
    os.execv(crun, [crun, *words])
