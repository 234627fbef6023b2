"""What the shim reads changes under it, at any step, or there is no room for what it writes: enforced, or not started.

Under SCMM_SOAK at each step, else at some of them, which are others for each change.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shim_ground import POLICY, Ground, contents, is_enforced, swept
from support import ROOT, need

from rig import namespace
from rig.mounts import MS_BIND, MS_NODEV, MS_NOSUID, mount, private_dir, unmount_below
from scmm_oci.enforcer import private
from scmm_oci.enforcer.store import BadStore

SOAK = bool(os.environ.get("SCMM_SOAK"))
pytestmark = pytest.mark.timeout(3600 if SOAK else 300)
STRIDE = 1 if SOAK else 23
OTHER = {**POLICY, "filesystem": {"rules": [{"path": "/", "access": ["read_file", "write_file", "execute"]}]}}
_SWEEP = (
    "import sys; sys.path.append(sys.argv[1]); from scmm_oci.enforcer.places import Places; Places(sys.argv[2]).sweep()"
)
_MS_RDONLY, _MS_REMOUNT = 1, 32


@pytest.fixture
def ground(inside: namespace.Entered) -> Iterator[Ground]:
    need("KERNEL", None)
    with private_dir("races") as base:
        yield Ground(base)


#: What happens at a step of `create`. P: the policy's file; OTHER: another policy; RUN: our directory of containers.
IN_A_CREATE = {
    "policy removed": "rm P",
    "policy replaced": "cp OTHER P.new && mv P.new P",
    "policy written over": "cp OTHER P",
    "policy emptied": ": > P",
    "policy a link": "ln -sf OTHER P",
    "policy to be written by all": "chmod 666 P",
    "store gone": "mv STORE STORE.gone",
    "asks for nothing any more": "cp PLAIN BUNDLE/config.json",
    "bundle gone": "rm BUNDLE/config.json",
    "containers gone": "rm -rf RUN",
    "container gone": "rm -rf RUN/*",
    "swept": "SWEEP",
}


class Change:
    """One of these, and what takes it back."""

    def __init__(self, ground: Ground, words: str) -> None:
        self.ground = ground
        ground.shims.add("other", OTHER)
        store = Path(ground.shims.store.directory)
        self.policy, self.store = store / "files.scmm-pol", store
        self.data, self.other = self.policy.read_bytes(), (store / "other.scmm-pol").read_bytes()
        ground.ask()
        plain = shutil.copy2(ground.bundle / "config.json", ground.base / "plain.json")
        sweep = [sys.executable, "-I", "-S", "-c", _SWEEP, str(ROOT), str(ground.shims.bundles)]
        places = {
            "SWEEP": shlex.join(sweep),
            "OTHER": str(store / "other.scmm-pol"),
            "PLAIN": str(plain),
            "BUNDLE": str(ground.bundle),
            "STORE": str(store),
            "RUN": str(ground.shims.bundles),
            "P.new": f"{self.policy}.new",
            "P": str(self.policy),
        }
        self.how = "do:" + " ".join(_put(word, places) for word in words.split())

    def reset(self, **wishes: str) -> None:
        gone = Path(f"{self.store}.gone")
        if gone.exists():
            gone.rename(self.store)
        self.policy.unlink(missing_ok=True)
        self.policy.write_bytes(self.data)
        self.policy.chmod(0o600)
        self.ground.ask(**wishes)
        shutil.rmtree(self.ground.shims.bundles, ignore_errors=True)

    def check(self, config: dict[str, Any] | None, *, pinned: bool) -> bool:
        """Whether the runtime got what is enforced, by one of the two policies as a whole; nothing else is given."""
        if not config:
            return False  # not called, or with a bundle that is gone
        assert is_enforced(config)
        (source,) = [each["source"] for each in config["mounts"] if each["destination"] == "/dev/.scmm-policy"]
        if not Path(source).exists():
            return False  # the runtime cannot mount it
        held = Path(source).read_bytes()
        assert held == self.data or (held == self.other and not pinned)
        plan = json.loads((Path(source).parent / "plan.json").read_text())
        assert plan["sha256"] == private.sha256(held)
        return True


def _put(word: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        if word.startswith(name):
            return value + word[len(name) :]
    return word


@pytest.mark.parametrize("what", IN_A_CREATE)
@pytest.mark.parametrize("pinned", [False, True] if SOAK else [False])
def test_changes_during_a_create(ground: Ground, what: str, pinned: bool) -> None:
    change = Change(ground, IN_A_CREATE[what])
    digest = f"@sha256:{private.sha256(change.data)}" if pinned else ""
    number, failed, held, refused, plain = 1 + list(IN_A_CREATE).index(what) % STRIDE, "-", 0, 0, 0
    while failed:
        change.reset(policy=f"files{digest}")
        before = contents(ground.bundle)
        code, failed, config = ground.create(change.how, number)
        asked_nothing = what == "asks for nothing any more" and bool(failed)
        if (asked_nothing and config == json.loads((ground.base / "plain.json").read_text())) or (
            what == "bundle gone" and config == {}
        ):
            plain += 1  # the caller's own, as it is by now
        elif change.check(config, pinned=pinned):
            held += 1
        else:
            refused += 1
            assert code or config == {}
        if what not in ("asks for nothing any more", "bundle gone"):
            assert contents(ground.bundle) == before
        assert swept(ground) == []
        number += STRIDE
    assert held > 0  # the last, with no change, at least
    if what in ("policy removed", "store gone", "policy emptied"):
        assert refused > 0
    if what in ("asks for nothing any more", "bundle gone"):
        assert plain > 0
    if what == "swept":
        assert refused == 0


#: What happens at a step of `exec`. F: the file of the process; K: the container's directory.
IN_AN_EXEC = {
    "process a link": "ln -sf EVIL F",
    "process written over": "cp EVIL F",
    "process gone": "rm F",
    "plan gone": "rm K/plan.json",
    "container gone": "rm -r K",
    "containers gone": "rm -rf RUN",
    "state emptied": ": > STATE",
    "swept": "SWEEP",
}


@pytest.mark.parametrize("what", IN_AN_EXEC)
def test_changes_during_an_exec(ground: Ground, what: str) -> None:
    path = ground.running()
    kept = ground.base / "kept"
    shutil.copytree(path.parent, kept)
    process, evil, state = ground.base / "process.json", ground.base / "evil.json", ground.root / "one/state.json"
    evil.write_text(json.dumps({"args": ["evil"], "cwd": "/"}))
    known = state.read_bytes()
    sweep = shlex.join([sys.executable, "-I", "-S", "-c", _SWEEP, str(ROOT), str(path.parent)])
    places = {"SWEEP": sweep, "EVIL": str(evil), "STATE": str(state), "RUN": str(path.parent), "F": str(process)}
    how = "do:" + " ".join(_put(word, {**places, "K": str(path)}) for word in IN_AN_EXEC[what].split())
    number, failed, held, refused = 1 + list(IN_AN_EXEC).index(what) % STRIDE, "-", 0, 0
    while failed:
        shutil.rmtree(path.parent, ignore_errors=True)
        shutil.copytree(kept, path.parent)
        state.write_bytes(known)
        process.unlink(missing_ok=True)
        process.write_text(json.dumps({"args": ["sh"], "cwd": "/"}))
        code, failed, config = ground.run(how, number, f"--root={ground.root}", "exec", f"--process={process}", "one")
        if config:
            assert is_enforced(config), (number, failed, config)
            held += 1
        else:
            refused += 1
            assert code
        number += STRIDE
    assert held > 0
    if what == "plan gone":
        assert refused > 0
    if what == "swept":
        assert refused == 0


def test_a_process_file_that_is_a_link(ground: Ground) -> None:
    ground.running()
    process = ground.base / "process.json"
    (ground.base / "real.json").write_text(json.dumps({"args": ["sh"], "cwd": "/"}))
    process.symlink_to("real.json")
    words = (f"--root={ground.root}", "exec", f"--process={process}", "one")
    assert is_enforced(ground.run("0", 0, *words)[2])
    process.unlink()
    process.symlink_to("/proc/self/mem")  # what cannot be read is told by the shim, and nobody comes in
    assert ground.run("0", 0, *words)[::2] == (1, None)
    os.mkfifo(ground.base / "fifo")
    process.unlink()
    process.symlink_to(ground.base / "fifo")  # nobody writes into it
    assert ground.run("0", 0, *words)[::2] == (1, None)


@contextmanager
def small(path: Path, options: str) -> Iterator[None]:
    """A file system in memory with so little room."""
    path.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=0700,{options}")
    try:
        yield
    finally:
        unmount_below(path)


@pytest.mark.parametrize("what", ["nr_inodes={}", "size={}k"])
def test_a_full_disk(ground: Ground, what: str) -> None:
    """No room for our directory, more with each try; the plan is the last to be written."""
    ground.settings(hook=str(ground.script))
    outcomes: dict[str, list[bool]] = {"policy": [], "record": []}
    for room in (1, 2, 3, 4, 5, 6, 7, 8, 9) if "inodes" in what else (4, 8, 12, 16, 64, 72, 80, 128):
        for wish in outcomes:
            with small(ground.shims.bundles.parent, what.format(room)):
                ground.ask(**{"policy": {"policy": "files"}, "record": {"record": "true"}}[wish])
                code, _, config = ground.create("0", 0)
                if wish == "policy":
                    assert config is None or is_enforced(config)
                    assert code == 3 or (code == 1 and "No space left on device" in ground.said)
                else:
                    assert config is not None and code == 3  # it starts
                outcomes[wish].append(bool(config) and (is_enforced(config) or "hooks" in config))
                assert swept(ground) == []
    for found in outcomes.values():
        assert found == sorted(found) and found[0] is False and found[-1] is True


def test_a_disk_that_is_read_only(ground: Ground) -> None:
    """The caller's bundle may be; ours must not."""
    ground.settings(hook=str(ground.script))
    for path, wish, expected in (
        (ground.bundle, {"policy": "files"}, True),
        (ground.bundle, {"record": "true"}, True),
        (ground.shims.bundles, {"policy": "files"}, None),
        (ground.shims.bundles, {"record": "true"}, False),
    ):
        path.mkdir(parents=True, exist_ok=True)
        ground.ask(**wish)
        mount(str(path), path, None, MS_BIND)
        mount("none", path, None, MS_BIND | _MS_REMOUNT | _MS_RDONLY)
        try:
            code, _, config = ground.create("0", 0)
        finally:
            unmount_below(path)
        if expected is None:
            assert (code, config) == (1, None) and "Read-only file system" in ground.said
        else:
            assert config and (is_enforced(config) or "hooks" in config) is expected
        assert swept(ground) == []


def test_a_full_store_keeps_the_policy_that_is_there(ground: Ground) -> None:
    store = Path(ground.shims.store.directory)
    data = (store / "files.scmm-pol").read_bytes()
    with small(store, "size=4k"):
        (store / "files.scmm-pol").write_bytes(data)
        (store / "files.scmm-pol").chmod(0o600)
        for name in ("files", "other"):
            with pytest.raises(BadStore, match="No space left"):
                ground.shims.store.add(name, data, replace=True)
        assert os.listdir(store) == ["files.scmm-pol"] and (store / "files.scmm-pol").read_bytes() == data
        ground.ask(policy="files")
        assert is_enforced(ground.create("0", 0)[2])
