"""Check everything recording needs, and say how to mend what is missing. Changes nothing that stays.

Used by `scmm doctor` and by the test rig, which asks it what this machine can run.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from scmm_oci.errors import BadInput
from scmm_oci.kernel import features, landlock, libbpf, prepared
from scmm_oci.recorder import installation, ledger, pins, session
from scmm_oci.recorder import settings as settings_module
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.runtimes import parse_version
from scmm_oci.recorder.settings import Settings

_ETC = Path("/etc/containers")


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One line of the report: what was checked, how it stands, and what to do if it does not stand well."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def examine(layout: Layout) -> list[Check]:
    """All checks, in the order in which they should be mended."""
    try:
        settings = installation.configured(layout.config)
    except BadInput as error:
        bad = Check("configuration", Verdict.FAILED, str(error), f"correct {layout.config}")
        return [bad, *kernel_checks(settings_module.check({}))]
    except PermissionError as error:
        return [_unseen("configuration", error, layout.config), *kernel_checks(settings_module.check({}))]
    return [*kernel_checks(settings), *engine_checks(), *hook_checks(layout), *directory_checks(settings)]


def _check(name: str, problem: str | None, detail: str, remedy: str, *, otherwise: Verdict = Verdict.FAILED) -> Check:
    return Check(name, otherwise, problem, remedy) if problem else Check(name, Verdict.OK, detail)


def _unseen(name: str, error: OSError, path: Path) -> Check:
    """What could not be looked into: to a user most of it is shut, and root has something to mend."""
    where = error.filename or path
    if isinstance(error, PermissionError) and os.geteuid():
        return Check(name, Verdict.WARNING, f"{where} cannot be looked into without root", "run as root")
    return Check(name, Verdict.FAILED, f"{where} cannot be looked into: {error.strerror or error}", "mend or remove it")


def kernel_checks(settings: Settings) -> Iterator[Check]:
    """Whether this kernel takes the recorder from this process."""
    machine = os.uname().machine
    yield _check(
        "BPF object",
        None if Path(pins.OBJECT).is_file() else f"{pins.OBJECT} is not there",
        f"for {machine}",
        "build the package again with clang, llvm and libbpf-dev installed"
        if machine in ("x86_64", "aarch64")
        else "scmm-oci records on x86_64 and aarch64 only",
    )
    missing = features.missing_capabilities()
    yield _check(
        "capabilities",
        f"{' and '.join(missing)} missing" if missing else None,
        "CAP_BPF and CAP_PERFMON" if os.geteuid() else "root",
        "run as root; rootless containers cannot be recorded",
    )
    yield _check(
        "kernel BTF",
        None if features.has_btf() else f"{features.BTF} is not there",
        features.BTF,
        "use a kernel built with CONFIG_DEBUG_INFO_BTF (every current distribution's is)",
    )
    try:
        version = libbpf.library().libbpf_version_string().decode()
        yield Check("libbpf", Verdict.OK, version)
    except libbpf.LibbpfMissing as error:
        yield Check("libbpf", Verdict.FAILED, error.strerror or "", "Debian and Ubuntu: apt install libbpf1")
    parent = str(Path(settings.pin_dir).parent)
    yield _check(
        "BPF file system",
        None if features.is_bpffs(parent) else f"{parent} is not one",
        parent,
        f"mount -t bpf bpf {parent}",
    )
    mode = features.cgroup_mode()
    yield _check(
        "cgroups",
        "no cgroup hierarchy is mounted" if mode == "none" else None,
        {"v2": "cgroup v2", "hybrid": "v1 controllers and cgroup v2", "v1": "v1 only"}.get(mode, mode),
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    )
    yield landlock_check()
    yield load_check()


def landlock_check() -> Check:
    """Whether the poststop hook and the verbs that read what others wrote can confine themselves."""
    abi = landlock.abi()
    missing = "this kernel has none: the poststop hook and the verbs that read files are not confined"
    remedy = "build the kernel with CONFIG_SECURITY_LANDLOCK and name landlock in its lsm= parameter"
    return _check("Landlock", None if abi else missing, f"ABI {abi}", remedy, otherwise=Verdict.WARNING)


def load_check() -> Check:
    """Have the kernel verify and attach the recorder for a moment."""
    with tempfile.TemporaryDirectory(prefix="scmm-doctor-") as directory:
        try:
            small = dict.fromkeys(("sets", "free_sets", "edges", "free_edges"), 1)
            small |= dict.fromkeys(("facts", "facts_medium", "facts_long", "arguments", "threads", "free_threads"), 1)
            prepared.load_and_pin(pins.read_or_make(directory), entries=small, pins={})
        except OSError as error:
            return Check("recorder", Verdict.FAILED, error.strerror or str(error), "mend what failed above first")
    return Check("recorder", Verdict.OK, "the kernel verified and attached it")


def engine_checks() -> Iterator[Check]:
    """Which engines and runtimes are here; any one will do."""
    for name in ("podman", "docker", "runc", "crun"):
        path = shutil.which(name)
        if path is None:
            yield Check(name, Verdict.WARNING, "not installed", "")
            continue
        yield Check(name, Verdict.OK, _version(path) or path)


def _version(path: str) -> str | None:
    import subprocess

    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout) or done.stdout.partition("\n")[0][:80] or None


def hook_checks(layout: Layout) -> Iterator[Check]:
    """Whether podman will call the hooks, and whether anything beside them keeps containers from starting."""
    try:
        findings = installation.findings(layout)
    except PermissionError as error:
        yield _unseen("hooks", error, layout.hooks_dir)
    else:
        if not findings:
            yield Check("hooks", Verdict.OK, f"installed in {layout.hooks_dir}")
        # scmm-runc calls the hooks by itself, and only podman would look for them.
        alone = (layout.libexec_dir / installation.SHIM_SETTINGS).exists()
        for finding in findings:
            spared = alone and finding.code == installation.NOT_INSTALLED
            verdict = Verdict.WARNING if spared else Verdict.FAILED
            yield Check("hooks", verdict, finding.message, finding.hint)
    searched = hooks_directories()
    if searched is not None and layout.hooks_dir not in searched:
        yield Check(
            "hooks_dir",
            Verdict.FAILED,
            f"containers.conf names {', '.join(map(str, searched)) or 'no directory'}, not {layout.hooks_dir}",
            f"add {layout.hooks_dir} to hooks_dir in /etc/containers/containers.conf, or pass podman --hooks-dir",
        )
    if layout.hooks_dir.is_dir():
        for path in sorted(layout.hooks_dir.glob("*.json")):
            problem = _descriptor_problem(path)
            if problem:
                yield Check("hooks.d", Verdict.FAILED, f"{path}: {problem}", "correct or remove it")


def hooks_directories(etc: Path = _ETC, *, without: Path | None = None) -> list[Path] | None:
    """`hooks_dir` as containers.conf(5) sets it, or None where no file does and the default holds.

    Args:
        etc: the directory of containers.conf and containers.conf.d; CONTAINERS_CONF stands for the usual one.
        without: a file that is passed over.
    """
    result = None
    names = [Path("/usr/share/containers/containers.conf"), etc / "containers.conf"]
    names += sorted((etc / "containers.conf.d").glob("*.conf"))
    if os.environ.get("CONTAINERS_CONF") and etc == _ETC and without is None:
        names = [Path(os.environ["CONTAINERS_CONF"])]
    for path in names:
        try:
            engine = {} if path == without else tomllib.loads(path.read_text()).get("engine", {})
        except (OSError, ValueError):
            continue
        found = engine.get("hooks_dir") if isinstance(engine, dict) else None
        if isinstance(found, list):
            # Newer versions take {append = true} for going on with what earlier files say.
            more = any(isinstance(each, dict) and each.get("append") is True for each in found)
            before = (installation.HOOKS_DIR,) if result is None else result
            result = [*(before if more else ()), *(Path(each) for each in found if isinstance(each, str))]
    return result


def _descriptor_problem(path: Path) -> str | None:
    try:
        document = json.loads(path.read_text())
        program = document["hook"]["path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"not a hook descriptor ({error}): podman refuses to create containers"
    if not isinstance(program, str) or not os.access(program, os.X_OK):
        return f"its program {program} cannot be executed: podman skips the hook without a word"
    return None


def directory_checks(settings: Settings) -> Iterator[Check]:
    """Where captures go, what earlier recordings left, and what went wrong lately."""
    yield _check(
        "capture directory", _unwritable(settings.capture_dir), settings.capture_dir, "see capture_dir in the settings"
    )
    run_dir = Path(settings.run_dir)
    entries: list[dict[str, Any]] = []
    unsaved: list[str] = []
    try:
        if run_dir.is_dir():
            with ledger.Ledger(settings.run_dir) as opened:
                entries = opened.entries()
            unsaved = _captures(run_dir / session.UNSAVED)
    except OSError as error:
        # Without the entries nothing can be said of the pins either.
        yield _unseen("recordings", error, run_dir)
        return
    gone = [each for each in entries if session.is_gone(each)]
    yield _check(
        "recordings",
        f"{len(gone)} whose container is gone" if gone else None,
        f"{len(entries)} running",
        "scmm record --recover",
        otherwise=Verdict.WARNING,
    )
    if unsaved:
        detail = f"{len(unsaved)} captures wait in {run_dir / session.UNSAVED}"
        yield Check("unsaved captures", Verdict.WARNING, detail, "scmm record --recover")
    if not entries and os.path.lexists(settings.pin_dir):
        yield Check("pins", Verdict.WARNING, f"{settings.pin_dir} is left from a crash", "scmm record --recover")


def _captures(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.endswith(".scmm-cap")] if directory.is_dir() else []


def _unwritable(directory: str) -> str | None:
    path = Path(directory)
    nearest = next(each for each in (path, *path.parents) if os.path.exists(each))
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        return f"{nearest} cannot be written"
    status = nearest.stat()
    if nearest == path and (status.st_mode & 0o022 or status.st_uid != os.geteuid()):
        return f"{path} must belong to root and be writable by root only"
    return None
