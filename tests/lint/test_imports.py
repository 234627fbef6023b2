"""Who imports whom, and what the OCI hooks load.

Imports point one way (CONTRIBUTING.md, "Layout"). Imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from project_files import ROOT, project_files

from scmm_oci.recorder import installation

# Package → what it may import of ours beside itself and the bottom.
ALLOWED = {
    "tables": (),
    "kernel": ("tables",),
    "oci": ("tables",),
    "capture": ("tables", "kernel", "oci"),
    "policy": ("tables", "kernel", "oci", "capture"),
    "compiled": ("tables", "kernel", "oci", "capture", "policy"),
    "recorder": ("tables", "kernel", "oci", "capture", "policy", "compiled"),
    "enforcer": ("tables", "kernel", "oci", "capture", "policy", "compiled"),
    "watch": ("tables", "kernel", "oci", "capture", "policy", "compiled", "recorder", "enforcer"),
    "cli": ("tables", "kernel", "oci", "capture", "policy", "compiled", "recorder", "enforcer", "watch"),
}
BOTTOM = ("collection", "errors", "fastschema", "files", "log", "quickjson", "schema", "scratch", "settings_file")
MODULES = {str(path.relative_to(ROOT)): path for path in project_files(".py")}


def imported(text: str, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that the module imports. `from a import b` yields a.b, as b may be a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*here, *filter(None, [node.module])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def forbidden(text: str, path: str) -> list[str]:
    """Every import in the Python file at `path`, relative to the root, that points the wrong way."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    top, _, rest = module.partition(".")
    here = rest.partition(".")[0]
    return [
        f"{path}:{line}: imports {name}"
        for line, name in imported(text, module)
        if _is_forbidden(top, here, *name.split(".")[:2])
    ]


def _is_forbidden(top: str, here: str, target_top: str, target: str = "") -> bool:
    if top != "scmm_oci":
        return False
    if target_top in ("rig", "tests", "tools", "benchmarks", "examples"):
        return True
    if target_top != "scmm_oci" or target not in (*ALLOWED, *BOTTOM):
        return False  # not ours, or a name of the package itself (__version__)
    if target in BOTTOM or target == here:
        return False
    return target not in ALLOWED.get(here, ())


@pytest.mark.parametrize("path", [path for path in MODULES if path.startswith("scmm_oci/")])
def test_imports_point_one_way(path: str) -> None:
    assert forbidden(MODULES[path].read_text(), path) == []


def test_every_package_has_its_place() -> None:
    ours = {path.split("/")[1].removesuffix(".py") for path in MODULES if path.startswith("scmm_oci/")}
    assert ours - {"__init__"} <= {*ALLOWED, *BOTTOM}, "give the new package its place in ALLOWED, here"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("scmm_oci/tables/x.py", "from scmm_oci.oci import state"),
        ("scmm_oci/kernel/x.py", "import scmm_oci.oci.state"),
        ("scmm_oci/oci/x.py", "from ..kernel import bpf"),
        ("scmm_oci/capture/x.py", "def f():\n    from scmm_oci.policy.model import Policy"),
        ("scmm_oci/policy/x.py", "if TYPE_CHECKING:\n    from scmm_oci import compiled"),
        ("scmm_oci/recorder/x.py", "import scmm_oci.enforcer"),
        ("scmm_oci/enforcer/__init__.py", "from scmm_oci.recorder import hook"),
        ("scmm_oci/recorder/x.py", "from scmm_oci.cli.output import say"),
        ("scmm_oci/errors.py", "from scmm_oci.tables import errnos"),
        ("scmm_oci/__init__.py", "from scmm_oci.tables import errnos"),
        ("scmm_oci/cli/x.py", "import rig.podman"),
    ],
)
def test_wrong_imports_are_found(path: str, text: str) -> None:
    assert len(forbidden(text, path)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("scmm_oci/cli/x.py", "from scmm_oci.cli.output import say\nfrom scmm_oci.recorder import hook"),
        ("scmm_oci/recorder/x.py", "from scmm_oci import __version__, quickjson\nimport json"),
        ("scmm_oci/kernel/x.py", "from . import bpf\nfrom .bpf import Map"),
        ("scmm_oci/files.py", "from scmm_oci.errors import Failure"),
        ("rig/x.py", "from scmm_oci.recorder import hook"),
    ],
)
def test_right_imports_are_not_found(path: str, text: str) -> None:
    assert forbidden(text, path) == []


# What the hooks must not load, and why: each of these takes 1 to 10 ms, on every start of a recorded container, twice.
# What they do load is in sys.modules after BOTH_HOOKS: os, time, stat, errno, fcntl, struct, ctypes, types.
DEAR = {
    "argparse": "loads re, gettext, shutil",
    "collections": "loads keyword, operator, reprlib; the abstract classes are in _collections_abc, which os loads",
    "contextlib": "loads collections, functools",
    "dataclasses": "loads inspect; write the class by hand, with __slots__",
    "datetime": "time.gmtime does",
    "enum": "loads functools; use constants",
    "functools": "loads collections",
    "importlib": "loads warnings; the import statement does",
    "inspect": "loads ast, dis, tokenize",
    "json": "loads re; use scmm_oci.quickjson",
    "logging": "loads re, string, threading, traceback",
    "pathlib": "loads fnmatch, re, urllib; use os.path",
    "random": "loads hashlib, math",
    "re": "loads enum, functools; str has methods",
    "shutil": "loads bz2, lzma, zlib",
    "signal": "loads enum; it wraps _signal",
    "site": "reads the .pth files of every installed package; the starter passes -S",
    "subprocess": "loads selectors, signal, threading; use os.posix_spawn",
    "tempfile": "loads random, shutil",
    "threading": "loads functools",
    "traceback": "loads linecache, tokenize; import it where the hook has failed",
    "typing": "loads collections, re; import it under TYPE_CHECKING = False",
    "scmm_oci.errors": "words for people who type commands; the hooks raise OSError and ValueError",
    "scmm_oci.kernel.libbpf": "loads libbpf.so.1: only once per boot, see scmm_oci.kernel.prepared",
}

# Both hooks, as far as they go without root and without a container.
BOTH_HOOKS = """
from scmm_oci.recorder import hook, settings
from scmm_oci.oci import annotations as wishes, state
wanted = state.parse_state(b'{"id": "x", "pid": 1, "annotations": {"scmm.record": "true", "scmm.name": "x"}}')
assert wishes.read(wanted.annotations, default_name="x").record and settings.check({})
from scmm_oci.recorder import drain, ledger, runtimes, session, store, wire
from scmm_oci import quickjson
from scmm_oci.recorder import addresses, facts, resolve, slots
call = {0: (2, 1, 1 << 2, 0, 0, 1, 1, 1, 5)}
key = wire.FACT_KEY.pack(1, 2, 3, wire.FILE, 17, 0)
name = b"etc/x"
value = wire.FACT.pack(1, 9, 4, 0, 0, 0, 0, 1, 0, 0, len(name), 0, 1, wire.AS_NAMED, 0) + name
unix = wire.FACT.pack(1, 9, 0, 0, 0, 0, 1, 0, 0, 1, 8, 0, 1, wire.AS_NAMED, 0) + b"\\2\\0\\0P\\x7f\\0\\0\\1"
found = [facts.Fact(key, value), facts.Fact(wire.FACT_KEY.pack(2, 2, 3, wire.SOCKET, 1, 0), unix)]
slot = drain.Slot(
    counters=dict.fromkeys(wire.COUNTERS, 0), sets=[(0, 2, 0, call)], edges=[], facts=found,
    arguments=[(wire.ARGUMENT_KEY.pack(5, 3, 257, 0, 0), bytes(8))], threads=0, started=0,
)
entry = {"name": "x", "started_at": "", "container": {}, "runtime": {}}
files = facts.Files(slot.facts, milliseconds=slot.milliseconds)
with resolve.Resolver("/", {}, deadline=1e12, known=files.is_known) as resolver:
    document = drain.document(
        slot, entry, resolver=resolver, files=files, ended_at="", kernel="6", machine="x86_64"
    )
assert [row["path"] for row in document["files"]] == ["/etc/x"], document
assert document["sessions"][0]["phases"]["app"][0]["errnos"] == ["ENOENT"], document
assert b'"name":"read"' in quickjson.dumps(document)
"""

# scmm-runc, as far as create and exec go without a store and a runtime: on every start of a container, enforced or not.
THE_SHIM = """
from types import SimpleNamespace
from scmm_oci.enforcer import added_hooks, admits, bundle, wishes
config = {
    "process": {"args": ["true"], "env": ["SCMM_POLICY=web", "SCMM_RECORD=1"]},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/dev", "type": "tmpfs"}],
    "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}},
}
wish = wishes.read(config, SimpleNamespace(images=[]))
assert wish.policy == "web" and wish.record and not wish.problems
plan = bundle.Plan(launcher_source="/x", policy_source="/y", mode=wish.mode, parts={admits.FILTER})
bundle.absolute(config, "/bundle")
assert bundle.enforce(config, plan)
added_hooks.record(config, "/hook", wish)
process = {"args": ["true"]}
bundle.exec_process(process, plan)
assert wishes.strip(process) == []
import os
from scmm_oci.enforcer import images, passing, places, runtime_root, shim, shim_end, shim_exec, shim_settings
from scmm_oci.enforcer import shim_start, store
from scmm_oci.oci import config_json, runtime_argv
line = runtime_argv.parse(["--root", "/none", "run", "--bundle", "/none", "x"])
assert (line.verb, runtime_root.of(line), line.config()) == ("run", "/none", "/none/config.json")
settings = shim_settings.check({"runtimes": {"default": "/bin/true"}, "policy_dir": "/none", "run_dir": "/none"})
assert places.Places("/none").find("/none", "x") is None and places.Places("/none").bundles() == {}
assert config_json.loads(config_json.dumps(config)) == config
assert images.names("/none", "/none", "x") == ()
assert shim_start.words(settings, "scmm-runc", line) == list(line.words)
assert shim_exec.words(settings, runtime_argv.parse(["exec", "x", "true"])) == ["exec", "x", "true"]
try:
    store.Store("/none").read("web")
except ValueError:
    pass
assert passing.environment() == {}
from scmm_oci.enforcer import handing
assert handing.place(line) == 3 and handing.other_listener(line, config) == ""
assert handing.word(handing.state(line, config, "/bundle")[0]).startswith("{")
try:
    handing.connected("/none")
except ValueError:
    pass
"""

# The watch's hooks, as far as they go without root and without a container, where the machines of the policy are kept.
THE_WATCH = """
from scmm_oci.watch import hook
from scmm_oci.oci import annotations, state
wanted = state.parse_state(b'{"id": "x", "pid": 1, "annotations": {"scmm.watch": "kill", "scmm.policy": "web"}}')
assert annotations.watching(wanted.annotations).is_closed and hook.name_of(wanted) == ""
from scmm_oci.enforcer.store import Store
try:
    Store("/none").read("web")
except ValueError:
    pass
from scmm_oci.kernel import prepared
from scmm_oci.recorder import settings
from scmm_oci.watch import kept, machines, pins, session, slots, wire
none = machines.Machines((None,) * (len(wire.PHASES) * len(wire.ABIS)))
assert kept.machines("/proc/none", "0", lambda: none) == none  # where nothing can be kept
assert kept._unpacked(__import__("zlib").compress(none.to_bytes())) == none
assert not pins.is_loaded("/none") and session.entries(settings.check({"run_dir": "/none"})) == []
assert session.end(settings.check({"run_dir": "/none"}), container_id="x", bundle="", now=0) is None
told = {"policy": {"name": "web"}, "action": "kill", "counters": {"violations": 0}, "events": []}
assert list(hook.lines(told)) == ["watched by web (kill): no violation"]
"""


def dear_modules(code: str) -> dict[str, str]:
    """Those of DEAR that `code` loads when it runs as the hooks do (hooks/scmm-hook.in), each with its reason."""
    report = "\nprint('\\n'.join(sys.modules))"
    start = "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
    command = [installation.python(), "-I", "-S", "-c", start + code + report, ROOT]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {name: DEAR[name] for name in done.stdout.split() if name in DEAR}


@pytest.mark.parametrize("code", [BOTH_HOOKS, THE_SHIM, THE_WATCH], ids=["hooks", "shim", "watch"])
def test_the_hooks_and_the_shim_load_little(code: str) -> None:
    assert dear_modules(code) == {}


@pytest.mark.parametrize("module", ["json", "typing", "subprocess", "scmm_oci.errors"])
@pytest.mark.parametrize("code", [BOTH_HOOKS, THE_SHIM, THE_WATCH], ids=["hooks", "shim", "watch"])
def test_dear_modules_are_found(code: str, module: str) -> None:
    assert module in dear_modules(f"{code}\nimport {module}")


def test_the_hooks_need_nothing_installed() -> None:
    # -S leaves site-packages out, so the test above proves that the standard library is enough; this proves -S.
    command = [installation.python(), "-I", "-S", "-c", "import click"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert "No module named 'click'" in done.stderr


def test_the_starter_runs_the_hooks_that_way() -> None:
    text = Path(ROOT, "hooks/scmm-hook.in").read_text()
    started = text.count('"$python" "$@"')
    assert started and text.count('"$python"') == started + 1  # once, it is looked for
    assert "set -- -I -S -c '" in text
