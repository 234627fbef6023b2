"""`scmm install`: what it writes, keeps and puts back, and what it refuses before it has written anything."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from small_monitor import Asked
from small_policies import compiled

from scmm_oci.cli import doctor as cli_doctor
from scmm_oci.cli.main import main
from scmm_oci.enforcer import shim_settings
from scmm_oci.enforcer.places import Places
from scmm_oci.enforcer.registration import engines, files, standing
from scmm_oci.enforcer.registration.engines import Kind
from scmm_oci.enforcer.store import Store
from scmm_oci.errors import Failure
from scmm_oci.recorder import doctor, installation
from scmm_oci.recorder.doctor import Verdict

DAEMON = '{\n  "debug": true\n}\n'


@dataclass(frozen=True)
class Host:
    """Directories of one's own in the place of a host's, and a runtime."""

    base: Path
    engine: Kind = Kind.DOCKER

    @property
    def file(self) -> Path:
        return self.base / "etc" / self.engine

    @property
    def backup(self) -> Path:
        return self.base / "etc" / f"{self.engine}.scmm-backup"

    @property
    def libexec(self) -> Path:
        return self.base / "libexec"

    @property
    def config(self) -> Path:
        return self.base / "config.yaml"

    @property
    def layout(self) -> installation.Layout:
        return installation.Layout(self.base / "hooks.d", self.libexec, self.config)

    @property
    def runc(self) -> Path:
        return self.base / "runc"

    def run(self, *words: str, runtimes: bool = True) -> int:
        options = {
            "--file": self.file,
            "--config": self.config,
            "--libexec-dir": self.libexec,
            "--hooks-dir": self.base / "hooks.d",
            "--records-dir": self.base / "records",
        }
        if runtimes:
            options |= {"--runc": self.runc, "--crun": self.runc}
        return main(["install", self.engine.value, *words, *(str(word) for pair in options.items() for word in pair)])

    def tree(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.base)): path.read_bytes() for path in self.base.rglob("*") if path.is_file()}

    def settings(self) -> shim_settings.Settings:
        return shim_settings.read(str(self.libexec / "shim.json"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """As if everything were root's: the tests need not run as root, nor in a checkout that belongs to root."""
    monkeypatch.setattr(installation, "writable_by_others", lambda path: None)
    made = Host(tmp_path)
    made.file.parent.mkdir()
    made.file.write_text(DAEMON)
    made.runc.write_text("#!/bin/sh\necho the real one\n")
    made.runc.chmod(0o755)
    made.config.write_text(json.dumps({"shim": {"run_dir": str(tmp_path / "run")}}))
    return made


def err(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


# What is written


PARTS = {
    "libexec/hook.json": 0o644,
    "libexec/scmm-hook": 0o755,
    "libexec/scmm-watch-hook": 0o755,
    "libexec/shim.json": 0o644,
    "libexec/scmm-enforce": 0o755,
    "libexec/scmm-runc": 0o755,
    "libexec/scmm-crun": 0o755,
}


def test_installed_and_undone(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = host.tree()
    host.file.chmod(0o640)
    assert host.run() == 0
    said = err(capsys)
    assert f"registered scmm and scmm-crun in {host.file}" in said
    assert f"what it was before is in {host.backup}" in said
    assert "systemctl reload docker" in said
    modes = {name: (host.base / name).stat().st_mode & 0o777 for name in host.tree() if name.startswith("libexec")}
    assert modes == PARTS
    assert json.loads(host.file.read_text()) == {
        "debug": True,
        "runtimes": {"scmm": {"path": f"{host.libexec}/scmm-runc"}, "scmm-crun": {"path": f"{host.libexec}/scmm-crun"}},
    }
    assert host.file.stat().st_mode & 0o777 == 0o640
    assert (host.backup.read_text(), host.backup.stat().st_mode & 0o777) == (DAEMON, 0o600)
    assert host.run("--undo") == 0
    said = err(capsys)
    assert f"put back {host.file}" in said and "systemctl restart docker where daemon.json has no `runtimes`" in said
    assert host.tree() == before
    assert host.file.stat().st_mode & 0o777 == 0o640
    assert not host.libexec.exists()
    assert host.run("--undo") == 0
    assert err(capsys) == "nothing was registered with docker\n"


@pytest.mark.parametrize("kind", Kind)
def test_a_file_that_was_not_there_goes_again(host: Host, kind: Kind) -> None:
    host = replace(host, engine=kind)
    host.file.unlink(missing_ok=True)
    before = host.tree()
    assert host.run() == 0
    assert host.file.exists() and not host.backup.exists()
    assert host.run("--undo") == 0
    assert host.tree() == before


def test_settings_are_those_of_the_configuration(host: Host) -> None:
    images = [{"image": "docker.io/*", "policy": "web"}]
    shim = {"images": images, "log_file": "/srv/log", "runtimes": {"youki": str(host.runc)}}
    host.config.write_text(json.dumps({"deadline": 20, "shim": shim}))
    assert host.run() == 0
    found = host.settings().as_dict()
    assert found["images"] == [{"image": "docker.io/*", "policy": "web", "mode": "standard"}]
    assert found["log_file"] == "/srv/log"
    assert found["runtimes"] == dict.fromkeys(("default", "crun", "youki"), str(host.runc))
    assert found["launcher"] == str(host.libexec / "scmm-enforce")
    assert found["hook"] == str(host.libexec / "scmm-hook")
    assert json.loads((host.libexec / "hook.json").read_text())["deadline"] == 20
    assert (host.libexec / "scmm-youki").exists()
    assert "scmm-youki" in host.file.read_text()


def test_a_monitors_socket_is_the_last_that_was_named(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    def monitor(*words: str) -> str:
        assert host.run(*words) == 0, err(capsys)
        return host.settings().monitor

    assert monitor() == "/run/scmm/monitor/notify.sock"
    assert monitor("--monitor", "/srv/sock") == "/srv/sock"
    assert monitor() == "/srv/sock", "it is that of the last time"
    assert {verdict for _, verdict, _ in checked(host)} == {Verdict.OK}
    host.config.write_text(json.dumps({"shim": {"monitor": "/srv/other"}}))
    assert [verdict for _, verdict, detail in checked(host) if "shim.json is not what" in detail] == [Verdict.FAILED]
    assert monitor() == "/srv/other"
    assert monitor("--monitor=/srv/sock") == "/srv/sock"
    assert monitor("--monitor") == "/run/scmm/monitor/notify.sock"
    before = host.tree()
    for word, why in (("sock", "is not an absolute path"), (f"/{'x' * 107}", "longer than the 107 bytes")):
        assert host.run("--monitor", word) == 2
        told = err(capsys)
        assert "--monitor: " in told and why in told and ".monitor" not in told
    assert host.tree() == before


def test_installing_again_changes_nothing_and_takes_new_settings(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.run() == 0
    first = host.tree()
    capsys.readouterr()
    assert host.run(runtimes=False) == 0, "the runtimes are those of the first time"
    assert f"scmm and scmm-crun: in {host.file} already" in err(capsys)
    assert host.tree() == first
    host.config.write_text(json.dumps({"shim": {"log_file": "/srv/log"}}))
    assert host.run(runtimes=False) == 0
    changed = {name for name, content in host.tree().items() if first[name] != content}
    assert changed == {"config.yaml", "libexec/shim.json"}
    assert host.run("--undo") == 0
    assert host.file.read_text() == DAEMON


def test_one_more_runtime_is_added_and_all_are_undone(host: Host) -> None:
    assert host.run() == 0
    host.config.write_text(json.dumps({"shim": {"runtimes": {"youki": str(host.runc)}}}))
    assert host.run() == 0
    assert set(json.loads(host.file.read_text())["runtimes"]) == {"scmm", "scmm-crun", "scmm-youki"}
    assert host.backup.read_text() == DAEMON
    assert host.run("--undo") == 0
    assert host.file.read_text() == DAEMON


def test_a_dry_run_tells_and_writes_nothing(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = host.tree()
    assert host.run("--dry-run") == 0
    told = capsys.readouterr().out
    assert {line for line in told.splitlines() if line.startswith("would")} == {
        f"would write {host.base / name}" for name in PARTS
    }
    assert '+    "scmm": {' in told
    assert host.tree() == before
    assert host.run() == 0
    after = host.tree()
    capsys.readouterr()
    assert host.run("--dry-run", "--undo") == 0
    told = capsys.readouterr().out
    assert '-    "scmm": {' in told
    assert f"would remove {host.libexec / 'scmm-runc'}" in told
    assert host.tree() == after


def test_the_last_engine_takes_the_parts_with_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    podman = replace(host, engine=Kind.PODMAN)
    assert host.run() == podman.run() == 0
    assert host.run("--undo") == 0
    assert "scmm-runc stays for podman" in err(capsys)
    assert (host.libexec / "scmm-runc").exists()
    assert podman.run("--undo") == 0
    assert not host.libexec.exists()


@pytest.mark.parametrize(("manager", "refused"), [("libpod", True), ("cri-o", False)])
def test_podman_keeps_what_it_stops_containers_with(
    manager: str, refused: bool, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    podman = replace(host, engine=Kind.PODMAN)
    assert podman.run() == 0
    before, run = host.tree(), host.base / "run"
    config = json.dumps({"annotations": {"io.container.manager": manager}}).encode()
    with Places(str(run)).claim(str(host.base / "runc-root"), "4242abcd4242abcd") as place:
        place.write(config=config, plan={"bundle": "/b"})
    capsys.readouterr()
    there = host.tree()
    assert podman.run("--undo", "--dry-run") == podman.run("--undo") == int(refused)
    told = err(capsys)
    if not refused:
        assert "scmm-runc stays for containers that run" in told and "can neither stop" in told
        return
    assert told.count("podman could stop and remove no more 1 container over scmm-runc: 4242abcd4242 (podman rm") == 2
    assert host.tree() == there
    # Control: when it has ended, nothing keeps its directory or the registration.
    owner = next(run.glob("*/owner.json"))
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"generation": "nobody"}))
    assert podman.run("--undo") == 0
    assert host.tree().keys() < before.keys()


def test_parts_stay_for_containers_that_run(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    (host.base / "run" / "0123").mkdir(parents=True)
    assert host.run("--undo") == 0
    assert "scmm-runc stays for containers that run" in err(capsys)
    assert host.file.read_text() == DAEMON
    assert (host.libexec / "scmm-runc").exists()


def test_the_hooks_starter_stays_for_whom_it_serves(host: Host) -> None:
    layout = host.layout
    installation.install(layout)
    assert host.run() == host.run("--undo") == 0
    assert sorted(path.name for path in host.libexec.iterdir()) == ["hook.json", *installation.STARTERS]
    assert installation.findings(layout) == []
    assert host.run() == 0
    assert [path.name for path in installation.uninstall(layout)] == [*installation.DESCRIPTORS]
    assert all((host.libexec / name).exists() for name in installation.STARTERS), "scmm-runc calls them"
    assert [finding.code for finding in installation.findings(layout)] == ["hooks-not-installed"]


def test_the_starter_becomes_the_runtime_that_was_named(host: Host) -> None:
    assert host.run() == 0
    done = subprocess.run(
        [host.libexec / "scmm-runc", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "the real one\n"


# What was changed since


def test_undo_does_not_lose_what_was_changed_since(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    changed = host.file.read_text().replace('"debug": true', '"debug": false')
    host.file.write_text(changed)
    before = host.tree()
    capsys.readouterr()
    assert host.run("--undo") == 2
    said = err(capsys)
    assert 'was changed since: -  "debug": true' in said
    assert 'was changed since: +  "debug": false' in said
    assert str(host.backup) in said
    assert host.tree() == before


def test_undo_forgets_what_was_taken_out_by_hand(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    host.file.write_text('{"debug": false}')
    assert host.run("--undo") == 0
    assert "has nothing of it any more, and stays as it is" in err(capsys)
    assert host.file.read_text() == '{"debug": false}'
    assert host.backup.read_text() == DAEMON, "the two differ, so it may be wanted"
    assert not (host.base / "records" / "docker.json").exists()
    assert not host.libexec.exists()


def test_installing_again_over_changes_keeps_these(host: Host) -> None:
    assert host.run() == 0
    host.file.write_text('{"debug": false}')
    assert host.run() == 0
    assert host.backup.read_text() == '{"debug": false}'
    assert host.run("--undo") == 0
    assert host.file.read_text() == '{"debug": false}'


def test_a_file_that_was_changed_between_two_registrations_names_nothing_that_is_gone(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.run() == 0
    ours = json.loads(host.file.read_text())
    host.file.write_text(json.dumps({**ours, "debug": False}))
    host.config.write_text(json.dumps({"shim": {"runtimes": {"youki": str(host.runc)}}}))
    assert host.run() == 0
    assert set(json.loads(host.file.read_text())["runtimes"]) == {"scmm", "scmm-crun", "scmm-youki"}
    before = host.tree()
    capsys.readouterr()
    assert host.run("--undo") == 2, "else Docker would be left with names of starters that are removed"
    assert f"some of what was registered stood there already (that is in {host.backup}; take out by hand" in err(capsys)
    assert host.tree() == before
    host.file.write_text('{"debug": false}')
    assert host.run("--undo") == 0
    assert host.file.read_text() == '{"debug": false}'
    assert not host.libexec.exists()


def test_a_backup_that_was_changed_is_not_put_back(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    host.backup.write_text("{}")
    before = host.tree()
    assert host.run("--undo") == 2
    assert f"error: {host.backup}: the backup was changed" in err(capsys)
    host.backup.unlink()
    assert host.run("--undo") == 2
    assert f"error: {host.backup}: the backup is gone" in err(capsys)
    assert host.tree() == {name: content for name, content in before.items() if not name.endswith("backup")}


def test_a_record_that_is_none_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    (host.base / "records" / "docker.json").write_text("[]")
    assert host.run("--undo") == 2
    assert "is no record of `scmm install`" in err(capsys)


def test_another_file_of_the_same_engine_is_refused(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    other = host.base / "other.json"
    assert host.run("--file", str(other)) == 0, "the last --file counts, and that is the first one here"
    words = [
        "install",
        "docker",
        "--file",
        str(other),
        "--records-dir",
        str(host.base / "records"),
        "--runc",
        str(host.runc),
    ]
    words += ["--libexec-dir", str(host.libexec), "--config", str(host.config)]
    assert main(words) == 2
    assert f"docker is registered in {host.file}" in err(capsys)
    assert not other.exists()


# What is refused, before anything is written


def test_all_problems_are_told_at_once(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.file.write_text('{"runtimes": {"scmm": {"path": "/other"}, "scmm-crun": 1}}')
    host.config.write_text(json.dumps({"deadline": "soon", "shim": {"imagse": [], "run_dir": "run"}}))
    host.runc.chmod(0o644)
    before = host.tree()
    assert host.run() == 2
    lines = err(capsys).splitlines()
    for expected in (
        f"error: --runc: {host.runc} cannot be executed",
        f"error: --crun: {host.runc} cannot be executed",
        f"error: {host.config}: .deadline: 'soon'",
        f"error: {host.config}: .shim: .imagse: no such setting",
        f"error: {host.config}: .shim: .run_dir: 'run' is not an absolute path",
        f"error: {host.file}: .runtimes.scmm: is there already",
        f"error: {host.file}: .runtimes.scmm-crun: is there already",
    ):
        assert sum(line.startswith(expected) for line in lines) == 1, (expected, lines)
    assert len(lines) == 7, lines
    assert host.tree() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.symlink_to(path.with_name("target")), "is a symbolic link, and is not replaced"),
        (lambda path: path.mkdir(), "is no regular file"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.write_bytes(b'{"a": "\xff"}'), "byte 7: is no UTF-8"),
        (lambda path: path.write_bytes(b" " * (files.MAX_FILE + 1)), "is larger than"),
    ],
)
def test_a_file_that_is_none_is_refused(host: Host, make, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    host.file.unlink()
    make(host.file)
    assert host.run() == 2
    assert f"error: {host.file}: {message}" in err(capsys)
    assert not host.libexec.exists()


def test_the_shim_over_itself_is_refused(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run() == 0
    link = host.base / "link"
    link.symlink_to(host.libexec / "scmm-runc")
    before = host.tree()
    assert host.run("--runc", str(link), runtimes=False) == 2
    assert f"error: --runc: {link} is the shim itself" in err(capsys)
    assert host.tree() == before


def test_a_host_without_runc_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(host.base))
    host.runc.unlink()
    assert host.run(runtimes=False) == 2
    assert err(capsys).splitlines() == ["error: --runc: there is no runc in PATH (name the runtime: --runc PATH)"]


def test_what_others_could_write_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = host.tree()
    monkeypatch.setattr(
        installation, "writable_by_others", lambda path: f"{path} is X's" if path == host.runc else None
    )
    assert host.run() == 2
    assert f"error: {host.runc} is X's" in err(capsys)
    assert host.tree() == before


# What goes wrong on the way


def test_a_file_that_cannot_be_written_leaves_nothing_registered(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.atomic_write

    def refusing(path: Path, *words: object, **options: object) -> None:
        if path == host.file:
            raise Failure("no space")
        real(path, *words, **options)

    before = host.tree()
    with monkeypatch.context() as patched:
        patched.setattr(files, "atomic_write", refusing)
        assert host.run() == 1
    assert host.tree() == before and not host.libexec.exists()
    # What was there before for another engine stays.
    assert replace(host, engine=Kind.PODMAN).run() == 0
    before = host.tree()
    monkeypatch.setattr(files, "atomic_write", refusing)
    assert host.run() == 1
    assert host.tree() == before


def test_a_run_that_was_killed_before_the_file_is_taken_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*words: object) -> None:
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr(files.Records, "_write", killed)
        host.run()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert host.file.read_text() == DAEMON
    assert (host.base / "records" / "docker.json").exists()
    assert host.run() == 0
    assert "scmm" in host.file.read_text()
    assert host.run("--undo") == 0
    assert host.file.read_text() == DAEMON
    assert not host.backup.exists()


# Whatever these are called for, a process can be killed before it.
STEPS = ("mkdir", "open", "write", "fsync", "rename", "unlink", "chmod", "fchown")


def killed_at(number: int, action: Callable[[], object]) -> bool:
    """Do it in a child that is killed before its `number`th step; whether there were as many."""
    child = os.fork()
    if not child:
        left = number

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def step(*words: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if not left:
                    os._exit(9)
                return real(*words, **options)

            return step

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_at_any_step_the_file_is_whole_and_the_next_run_makes_up_for_it(host: Host) -> None:
    other = f"{DAEMON} "
    steps = {"install": 0, "undo": 0}

    def edited(text: str | None) -> str:
        return other

    def apply() -> None:
        with files.records(host.base / "records") as records:
            records.apply("docker", records.change("docker", host.file, edited))

    def revert() -> None:
        with files.records(host.base / "records") as records:
            change = records.reverted("docker", lambda text: text == other)
            if change is not None:
                records.revert("docker", change)

    def names() -> list[str]:
        # Of a file that was being written, what there was of it lies beside.
        return sorted(path.name for path in host.file.parent.iterdir() if not path.name.endswith(".tmp"))

    while killed_at(steps["install"] + 1, apply):
        steps["install"] += 1
        assert host.file.read_text() in (DAEMON, other)
        apply()
        assert (host.file.read_text(), host.backup.read_text()) == (other, DAEMON)
        revert()
        assert (host.file.read_text(), names()) == (DAEMON, ["docker"])
    revert()
    apply()
    while killed_at(steps["undo"] + 1, revert):
        steps["undo"] += 1
        assert host.file.read_text() in (DAEMON, other)
        revert()
        assert (host.file.read_text(), names()) == (DAEMON, ["docker"])
        apply()
    assert steps["install"] > 12 and steps["undo"] > 6, steps


def test_who_changes_the_file_at_the_same_time_wins(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with files.records(host.base / "records") as records:
        change = records.change("docker", host.file, lambda text: f"{text}\n")
        host.file.write_text('{"debug": false}')
        with pytest.raises(Failure, match="has just been changed"):
            records.apply("docker", change)
        assert [*records] == []
    assert host.file.read_text() == '{"debug": false}'


# What doctor says


def checked(host: Host, *kinds: Kind) -> list[tuple[str, Verdict, str]]:
    configs = {kind: replace(host, engine=kind).file for kind in kinds or (host.engine,)}
    return [(each.name, each.verdict, each.detail) for each in cli_doctor.registered(host.layout, configs)]


def test_doctor_knows_what_is_registered(host: Host) -> None:
    ((name, verdict, detail),) = checked(host)
    assert (name, verdict) == ("scmm-runc", Verdict.OK) and detail.startswith("not installed")
    assert host.run() == 0
    assert checked(host, *Kind) == [
        ("scmm-runc", Verdict.OK, f"installed in {host.libexec}, over {host.runc}"),
        ("docker", Verdict.OK, f"scmm and scmm-crun registered in {host.file}"),
    ]


def test_doctor_finds_a_runtime_that_is_gone(host: Host) -> None:
    assert host.run() == 0
    host.runc.unlink()
    details = [detail for name, verdict, detail in checked(host) if (name, verdict) == ("scmm-runc", Verdict.FAILED)]
    assert len(details) == 2
    assert all(f"the runtime {host.runc} is not there" in detail for detail in details)


@pytest.mark.parametrize("name", ["scmm-runc", "scmm-enforce", "scmm-hook"])
def test_doctor_finds_a_part_that_is_gone(host: Host, name: str) -> None:
    assert host.run() == 0
    (host.libexec / name).unlink()
    failed = [detail for _, verdict, detail in checked(host) if verdict is Verdict.FAILED]
    assert failed and all(str(host.libexec / name) in detail for detail in failed)


def test_doctor_finds_what_is_older_than_the_configuration(host: Host) -> None:
    assert host.run() == 0
    host.config.write_text(
        json.dumps({"deadline": 20, "shim": {"log_file": "/srv/log", "run_dir": str(host.base / "run")}})
    )
    (host.libexec / "scmm-enforce").write_bytes(b"an older one")
    (host.libexec / "scmm-enforce").chmod(0o755)
    failed = [detail for _, verdict, detail in checked(host) if verdict is Verdict.FAILED]
    assert sorted(failed) == [
        f"{host.libexec / name} is not what this version and {host.config} say"
        for name in ("hook.json", "scmm-enforce", "shim.json")
    ]
    assert host.run(runtimes=False) == 0
    assert [detail for _, verdict, detail in checked(host) if verdict is Verdict.FAILED] == []


def test_doctor_finds_images_whose_policy_is_not_to_be_had(host: Host) -> None:
    held = Store(str(host.base / "store"))
    images = [{"image": "nginx*", "policy": "web"}, {"image": "a", "policy": f"web@sha256:{'0' * 64}"}]
    host.config.write_text(json.dumps({"shim": {"policy_dir": held.directory, "images": images}}))
    assert host.run() == 0
    where = f"there is no policy store {held.directory}: `scmm policy add` makes it"
    assert checked(host)[1:-1] == [
        ("policies", Verdict.FAILED, f"no container of the images {image} starts: {where}") for image in ("nginx*", "a")
    ]
    held.add("web", compiled())
    ((name, verdict, detail),) = checked(host)[1:-1]
    assert (name, verdict) == ("policies", Verdict.FAILED) and detail.startswith("no container of the images a starts")
    assert "has the digest sha256:" in detail
    images.pop()
    host.config.write_text(json.dumps({"shim": {"policy_dir": held.directory, "images": images}}))
    assert host.run() == 0
    assert {verdict for _, verdict, _ in checked(host)} == {Verdict.OK}


def test_doctor_finds_that_nobody_listens_where_somebody_is_asked(host: Host) -> None:
    held, socket = Store(str(host.base / "store")), host.base / "notify.sock"
    shim: dict[str, object] = {"policy_dir": held.directory, "monitor": str(socket)}
    host.config.write_text(json.dumps({"shim": shim}))
    assert host.run() == 0
    held.add("web", compiled())
    assert {verdict for _, verdict, _ in checked(host)} == {Verdict.OK}
    held.add("asking", compiled("asking", also="{names: [mkdir], action: notify}"))
    ((name, verdict, detail),) = checked(host)[1:-1]
    assert (name, verdict) == ("scmm-monitor", Verdict.FAILED)
    assert detail.startswith(f"asked by asking, whose containers do not start: nobody listens at {socket}")
    with Asked(socket):
        told = ("scmm-monitor", Verdict.OK, f"listens at {socket}, asked by asking")
        assert checked(host)[1:-1] == [told]
    held.remove("asking")
    assert {verdict for _, verdict, _ in checked(host)} == {Verdict.OK}
    # A policy that asks nobody does, in the mode ask.
    images = [{"image": "nginx*", "policy": "web", "mode": "ask"}]
    host.config.write_text(json.dumps({"shim": {**shim, "images": images}}))
    assert host.run() == 0
    ((name, verdict, detail),) = checked(host)[1:-1]
    assert (name, verdict) == ("scmm-monitor", Verdict.FAILED) and detail.startswith("asked by images nginx*, whose")


def test_doctor_finds_what_others_could_write(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.run() == 0
    assert {verdict for _, verdict, _ in checked(host)} == {Verdict.OK}
    monkeypatch.setattr(
        installation, "writable_by_others", lambda path: f"{path} is X's" if path == host.libexec else None
    )
    assert [detail for _, verdict, detail in checked(host) if verdict is Verdict.FAILED] == [f"{host.libexec} is X's"]


def test_doctor_asks_for_podmans_hooks_only_where_nothing_else_records(host: Host) -> None:
    def hooks() -> Verdict:
        (found,) = (each.verdict for each in doctor.hook_checks(host.layout) if each.name == "hooks")
        return found

    assert hooks() is Verdict.FAILED
    assert host.run() == 0
    assert hooks() is Verdict.WARNING
    installation.install(host.layout)
    assert hooks() is Verdict.OK


def test_doctor_finds_an_engine_that_names_what_is_gone(host: Host) -> None:
    assert host.run() == 0
    for path in host.libexec.iterdir():
        path.unlink()
    ((name, verdict, detail),) = checked(host)
    assert (name, verdict) == ("docker", Verdict.FAILED)
    assert "no container of that runtime starts" in detail


def test_doctor_finds_entries_and_files_that_are_not_right(host: Host) -> None:
    assert host.run() == 0
    good = host.file.read_text()
    host.file.write_text(good.replace(f"{host.libexec}/scmm-crun", "/other"))
    assert [(name, verdict) for name, verdict, _ in checked(host)][1:] == [("docker", Verdict.FAILED)]
    host.file.write_text(good[:-4])
    ((name, verdict, detail),) = checked(host)[1:]
    assert (name, verdict) == ("docker", Verdict.FAILED) and "is no JSON" in detail
    host.file.write_text(good)
    (host.libexec / "shim.json").write_text("{}")
    assert checked(host)[0][:2] == ("scmm-runc", Verdict.FAILED)


def test_every_engine_is_looked_at(host: Host) -> None:
    for kind in Kind:
        other = replace(host, engine=kind)
        other.file.unlink(missing_ok=True)
        assert other.run() == 0
    found = list(standing.standings(host.libexec, {kind: replace(host, engine=kind).file for kind in engines.ENGINES}))
    assert [each.name for each in found] == ["scmm-runc", *Kind]
    assert [each.findings for each in found] == [()] * 4
