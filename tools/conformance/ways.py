"""scmm-runc installed in a directory of its own, and how the cases reach it: nothing asked for, enforced, recorded.

Cases know nothing of annotations, so a starter of ours stands before the shim: what `spec` writes asks for the policy
or the recording. Below the shim another one counts what the real runtime is given, which shows that it was so.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from pathlib import Path

from rig.process import RigError, find_program
from scmm_oci.cli.main import main as scmm
from scmm_oci.enforcer import launcher
from scmm_oci.enforcer.registration import parts
from scmm_oci.enforcer.store import Store
from scmm_oci.oci import annotations as names
from scmm_oci.recorder import installation

# All that Landlock can hold and a filter, with nothing refused that a case needs: what is tested is the shim.
POLICY = {
    "version": "1.0",
    "settings": {"default_action": "allow"},
    "syscalls": [{"name": "kexec_load", "action": "deny"}],
    "filesystem": {
        "rules": [
            {
                "path": "/",
                "access": [
                    *("execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char"),
                    *("make_dir", "make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer"),
                    *("truncate", "ioctl_dev"),
                ],
            }
        ]
    },
}
# Asks by what `spec` writes. Whatever else is asked of the runtime goes on as it is.
ASKING = """#!/bin/sh
spec='' bundle=. next=''
for word; do
	[ -z "$next" ] || { bundle=$word next='' && continue; }
	case $word in
	spec) spec=yes ;;
	--bundle | -b) next=yes ;;
	esac
done
[ -n "$spec" ] || exec @SHIM@ "$@"
@SHIM@ "$@" || exit
[ -e "$bundle/config.json" ] || exit 0
exec @PYTHON@ -I -S -c 'import json, sys
path, key, value = sys.argv[1:]
with open(path) as file:
    config = json.load(file)
config.setdefault("annotations", {})[key] = value
with open(path, "w") as file:
    json.dump(config, file)' "$bundle/config.json" @KEY@ @VALUE@
"""
# One byte to a file for each container or process that the runtime starts, by whether the shim has changed it.
COUNTING = """#!/bin/sh
for word; do
	case $word in
	create | run | exec)
		case " $*" in
		*@BUNDLES@/* | *@LAUNCHER@*) printf x >>@COUNTS@/"$CASES_WAY.changed" ;;
		*) printf x >>@COUNTS@/"$CASES_WAY.same" ;;
		esac
		break
		;;
	esac
done
exec @RUNC@ "$@"
"""


class Way(StrEnum):
    """How the cases are run."""

    RUNC = "runc"
    PLAIN = "plain"
    ENFORCED = "enforced"
    RECORDED = "recorded"


@dataclass(frozen=True)
class Evidence:
    """What shows that a way was as its name says.

    changed, same: containers and processes that the runtime was told to start, as the shim had changed them, and as
    they were; captures: recordings that were written.
    """

    changed: int
    same: int
    captures: int


@dataclass(frozen=True)
class Installed:
    """One installation below `base`."""

    base: Path
    runtimes: Mapping[Way, Path]

    def evidence(self, way: Way) -> Evidence:
        """What has been counted for a way."""
        counts = self.base / "counts"
        captures = sum(1 for _ in (self.base / "hooks/captures").rglob("*.scmm-cap")) if way is Way.RECORDED else 0
        return Evidence(_size(counts / f"{way}.changed"), _size(counts / f"{way}.same"), captures)

    def left_over(self) -> list[str]:
        """Bundles of the shim's that are still there, and the recorder if it still is."""
        bundles, pinned = self.base / "run/containers", _pin_dir(self.base)
        left = sorted(bundles.iterdir()) if bundles.is_dir() else []
        return [str(each) for each in (*left, *([pinned] if pinned.exists() else []))]

    def log(self) -> str:
        try:
            return (self.base / "shim.log").read_text()
        except FileNotFoundError:
            return ""


def install(base: Path) -> Installed:
    """Put the shim, its hooks and a policy below a directory that only root can write."""
    base.chmod(0o711)  # root of a user namespace goes through
    runc = find_program("runc")
    if runc is None:
        raise RigError("there is no runc in PATH")
    (base / "counts").mkdir()
    hook = _hooks(base / "hooks")
    libexec, bundles = base / "libexec", base / "run/containers"
    counting = base / "below/runc"
    starter = libexec / parts.starter("default")
    settings = {
        "runtimes": {"default": str(counting)},
        "launcher": str(libexec / parts.LAUNCHER),
        "hook": str(hook),
        "policy_dir": str(base / "store"),
        "run_dir": str(bundles),
        "log_file": str(base / "shim.log"),
    }
    ours = installation.origin()
    wanted = parts.files(
        libexec=libexec,
        template=(ours.templates / parts.TEMPLATE).read_text(),
        python=ours.python,
        package=ours.package,
        settings=json.dumps(settings).encode(),
        launcher=launcher.find(os.uname().machine).read_bytes(),
        runtimes={"default": counting},
    )
    places = {
        "RUNC": runc,
        "BUNDLES": bundles,
        "LAUNCHER": parts.LAUNCHER,
        "COUNTS": base / "counts",
    }
    wanted[counting] = (filled(COUNTING, places), 0o755)
    runtimes = {Way.RUNC: Path(runc), Way.PLAIN: starter}
    for way, key, value in ((Way.ENFORCED, names.POLICY, "all"), (Way.RECORDED, names.RECORD, "true")):
        runtimes[way] = base / way / "runc"
        wanted[runtimes[way]] = (
            filled(ASKING, {"SHIM": starter, "PYTHON": ours.python, "KEY": key, "VALUE": value}),
            0o755,
        )
    installation.write(wanted)
    _add_policy(base)
    return Installed(base, runtimes)


def filled(template: str, values: Mapping[str, object]) -> bytes:
    """A script, with each @NAME@ as one word of the shell's."""
    for name, value in values.items():
        template = template.replace(f"@{name}@", shlex.quote(str(value)))
    return template.encode()


def _hooks(directory: Path) -> Path:
    """The recording hooks with settings of their own; their starter."""
    directory.mkdir(mode=0o700)
    config = directory / "config.yaml"
    values = {
        "capture_dir": str(directory / "captures"),
        "run_dir": str(directory / "run"),
        "log_file": str(directory / "hook.log"),
        "pin_dir": str(_pin_dir(directory.parent)),
    }
    config.write_text(json.dumps(values))  # JSON is YAML
    layout = installation.Layout(hooks_dir=directory / "hooks.d", libexec_dir=directory / "libexec", config=config)
    installation.install(layout)
    return layout.libexec_dir / installation.STARTER


def _pin_dir(base: Path) -> Path:
    """Where the recorder is: one of each installation's own, also of two in one process."""
    return Path("/sys/fs/bpf") / f"{base.parent.name}-{base.name}"


def _add_policy(base: Path) -> None:
    source, target = base / "all.scmm.yaml", base / "all.scmm-pol"
    source.write_text(json.dumps(POLICY))
    with redirect_stderr(StringIO()) as told:  # a policy that allows all has much to be told about
        code = scmm(["compile", "-i", str(source), "-o", str(target)])
    if code:
        raise RigError(f"{source} does not compile:\n{told.getvalue()}")
    Store(str(base / "store")).add("all", target.read_bytes())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
