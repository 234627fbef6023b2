"""runc's own cases of seccomp agents, with scmm-monitor in the place of upstream's agent: `python -m tools.conformance
--agent`.

Upstream's agent is contrib/cmd/seccompagent of the source package: it makes directories that are asked for under a
name of its own (the profile's listenerMetadata behind it), refuses chmod and its kin with ENOMEDIUM, and lets all else
go on. The cases take it from its place below their tree, so they are run in a copy that has our starter there, which
is given upstream's options. It says the same by rules and a program that decides.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rig.process import RigError, find_program

from .cases import Case, Outcome
from .comparing import Comparison
from .suite import Suite
from .ways import Installed, Way, filled

#: The file with the cases, without .bats.
CASES = "seccomp-notify"
_AGENT = Path("contrib/cmd/seccompagent")
_STARTER = """#!/bin/sh
# Upstream's options: -socketfile=S -pid-file P.
while [ $# -gt 0 ]; do
	case $1 in
	-socketfile=*) socket=${1#*=} ;;
	-pid-file) pid_file=$2 && shift ;;
	*) echo "seccompagent: $1?" >&2 && exit 2 ;;
	esac
	shift
done
# Cases end it by the file, however early; and bats waits for whoever has its descriptors.
echo $$ >"$pid_file"
printf x >>@COUNTS@
exec @PYTHON@ -P -m scmm_oci.cli.main monitor --no-prompt --rules @RULES@ --decisions @DECISIONS@ \
	--socket "$socket" >>@TOLD@ 2>&1 3>&- 4>&-
"""
# Behind upstream's helpers: theirs do not wait for an agent, which may take a while to begin on a busy machine.
_WAITING = """
eval "upstreams_$(declare -f setup_seccompagent)"
function setup_seccompagent() {
	upstreams_setup_seccompagent
	retry 600 0.05 test -S "$SECCCOMP_AGENT_SOCKET"
}
"""
# Answers each question about mkdir with the path that it is to be.
_PROGRAM = """import json, sys
for line in sys.stdin:
    question = json.loads(line)
    path = question["said"][0] + "-" + question["name"]
    print(json.dumps({"id": question["id"], "decision": "allow", "path": path}), flush=True)
"""
_RULES = {
    "version": "1.0",
    "default": "allow",
    "program": [sys.executable, "-I", "-S", "-c", _PROGRAM],
    "rules": [
        {"syscalls": ["chmod", "fchmod", "fchmodat"], "decision": "deny", "errno": "ENOMEDIUM"},
        {"syscalls": ["mkdir"], "decision": "program"},
    ],
}


class Agent:
    """A copy of the cases whose agent is scmm-monitor. Its files are below `base`: rules, what it told, starts."""

    def __init__(self, suite: Suite, base: Path) -> None:
        self.base = base
        tree, ours = suite.directory.parents[1], base / "tree"
        for part in (suite.directory.relative_to(tree), _AGENT.parent):
            shutil.copytree(tree / part, ours / part, symlinks=True)
        with (ours / suite.directory.relative_to(tree) / "helpers.bash").open("a") as helpers:
            helpers.write(_WAITING)
        directory = ours / suite.directory.relative_to(tree)
        self.suite = Suite(directory, suite.version, tuple(directory / each.name for each in suite.files), suite.images)
        (base / "rules.yaml").write_text(json.dumps(_RULES))  # JSON is YAML
        self._write(ours / _AGENT / _AGENT.name)

    @property
    def starts(self) -> int:
        """How often the cases have started it."""
        counted = self.base / "starts"
        return counted.stat().st_size if counted.exists() else 0

    def told(self) -> str:
        return (self.base / "told").read_text()

    def _write(self, starter: Path) -> None:
        starter.parent.mkdir(exist_ok=True)
        starter.unlink(missing_ok=True)  # upstream's; a copy of ours
        places = {
            "PYTHON": sys.executable,
            "RULES": self.base / "rules.yaml",
            "DECISIONS": self.base / "decisions.sqlite",
            "TOLD": self.base / "told",
            "COUNTS": self.base / "starts",
        }
        starter.write_bytes(filled(_STARTER, places))
        starter.chmod(0o755)


def run(suite: Suite, base: Path) -> list[Case]:
    """The cases of a suite under runc itself, in a cgroup of their own. Raises RigError."""
    runc = find_program("runc")
    files = [path for path in suite.files if path.stem == CASES]
    if runc is None or not files:
        raise RigError("there is no runc in PATH" if files else f"there are no cases in {CASES}.bats")
    base.mkdir(mode=0o711)
    compared = Comparison(suite, files, Installed(base, {Way.RUNC: Path(runc)}), base)
    compared.run([Way.RUNC], lambda way, cases, seconds: None)
    return compared.results[Way.RUNC]


def differing(theirs: Sequence[Case], ours: Sequence[Case]) -> list[Case]:
    """Cases that pass with upstream's agent, as they end with ours where they do not pass there."""
    found = {case.key: case for case in ours}
    missing = [Case(case.file, case.name, Outcome.FAILED, "the case was not run") for case in theirs]
    return [
        ended
        for case, gone in zip(theirs, missing, strict=True)
        if case.outcome is Outcome.PASSED and (ended := found.get(case.key, gone)).outcome is not Outcome.PASSED
    ]
