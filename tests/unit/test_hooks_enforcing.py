"""`scmm hooks install --enforce`: what is written where, how podman is told, and what status and doctor find wrong."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scmm_oci.cli import doctor as cli_doctor
from scmm_oci.cli import hooks_enforcing
from scmm_oci.cli.hooks_enforcing import Enforcing
from scmm_oci.cli.main import main
from scmm_oci.enforcer import launcher, shim_settings
from scmm_oci.errors import BadInput, Failure
from scmm_oci.recorder import doctor, installation
from scmm_oci.recorder.doctor import Verdict
from scmm_oci.recorder.installation import Layout


@pytest.fixture
def place(tmp_path: Path) -> Enforcing:
    layout = Layout(hooks_dir=tmp_path / "usual", libexec_dir=tmp_path / "libexec", config=tmp_path / "config.yaml")
    return Enforcing(layout, tmp_path / "etc/containers.conf.d/scmm-hooks.conf")


@pytest.fixture(autouse=True)
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everything were root's: the tests need not run as root, nor in a checkout that belongs to root."""
    monkeypatch.setattr(installation, "writable_by_others", lambda path: None)


def options(place: Enforcing) -> list[str]:
    return [
        *("--config", str(place.layout.config)),
        *("--hooks-dir", str(place.layout.hooks_dir)),
        *("--libexec-dir", str(place.layout.libexec_dir)),
        *("--drop-in", str(place.drop_in)),
    ]


def tree(path: Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir()}


def codes(place: Enforcing) -> list[str]:
    return [each.code for each in hooks_enforcing.findings(place)]


PAIR = {
    *(f"libexec/{name}" for name in ("scmm-hook", "scmm-watch-hook", "hook.json")),
    *(f"usual/scmm-{name}.json" for name in ("prestart", "poststop", "watch-prestart", "watch-poststop")),
}
OURS = {
    "libexec/scmm-enforce",
    "libexec/precreate.json",
    "libexec/scmm-precreate",
    "libexec/hooks.d/scmm-precreate.json",
    "etc/containers.conf.d/scmm-hooks.conf",
}


def test_installed_and_removed_again(place: Enforcing, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hooks", "install", *options(place)]) == 0
    assert tree(tmp_path) == PAIR, "nobody has asked for more"
    assert main(["hooks", "install", "--enforce", *options(place)]) == 0
    assert tree(tmp_path) == PAIR | OURS
    written = [line.removeprefix("wrote ") for line in capsys.readouterr().err.splitlines()]
    assert written[-2:] == [str(place.descriptor), str(place.drop_in)], "podman is told when all is there"
    modes = {each.name: each.stat().st_mode & 0o777 for each in place.layout.libexec_dir.iterdir() if each.is_file()}
    assert modes == {
        "scmm-hook": 0o755,
        "scmm-watch-hook": 0o755,
        "scmm-precreate": 0o755,
        "scmm-enforce": 0o755,
        "hook.json": 0o644,
        "precreate.json": 0o644,
    }
    assert (place.layout.libexec_dir / "scmm-enforce").read_bytes() == launcher.find(os.uname().machine).read_bytes()
    assert main(["hooks", "uninstall", *options(place)]) == 0
    removed = [line.removeprefix("removed ") for line in capsys.readouterr().err.splitlines()]
    assert removed[:2] == [str(place.drop_in), str(place.descriptor)], "podman forgets before anything is gone"
    assert tree(tmp_path) == set()
    assert not place.layout.libexec_dir.exists()


def test_the_descriptor_is_not_where_builds_find_it(place: Enforcing) -> None:
    hooks_enforcing.install(place)
    assert place.descriptor.parent != place.layout.hooks_dir
    assert json.loads(place.descriptor.read_text()) == {
        "version": "1.0.0",
        "hook": {
            "path": str(place.layout.libexec_dir / "scmm-precreate"),
            "args": ["scmm-precreate", "precreate"],
            "timeout": 30,
        },
        "when": {"annotations": {r"^scmm\.([^dnr]|d[^e]|n[^a]|r[^e])": ".*"}},
        "stages": ["precreate"],
    }


def test_what_is_installed_is_written_anew_with_the_pair(place: Enforcing) -> None:
    hooks_enforcing.install(place)
    place.layout.config.write_text("shim: {policy_dir: /srv/policies}\n")
    assert codes(place) == ["hook-file-stale"]
    assert main(["hooks", "install", *options(place)]) == 0
    assert codes(place) == []
    settings = shim_settings.read(str(place.layout.libexec_dir / "precreate.json"))
    assert settings.policy_dir == "/srv/policies"
    assert settings.launcher == str(place.layout.libexec_dir / "scmm-enforce")


def test_the_launcher_of_scmm_runc_stays(place: Enforcing) -> None:
    hooks_enforcing.install(place)
    (place.layout.libexec_dir / "shim.json").touch()
    hooks_enforcing.uninstall(place)
    assert tree(place.layout.libexec_dir) == {"shim.json", "scmm-enforce"}


@pytest.mark.parametrize(
    ("files", "others"),
    [
        ({}, None),
        ({"containers.conf": "[engine]\nruntime = 'runc'\n"}, None),
        ({"containers.conf": "[engine]\nhooks_dir = ['/a', '/b']\n"}, ["/a", "/b"]),
        ({"containers.conf": "[engine]\nhooks_dir = ['/a']\n", "containers.conf.d/a.conf": "nonsense"}, ["/a"]),
        (
            {
                "containers.conf": "[engine]\nhooks_dir = ['/a']\n",
                "containers.conf.d/a.conf": "[engine]\nhooks_dir = ['/b']\n",
            },
            ["/b"],
        ),
        (
            {
                "containers.conf": "[engine]\nhooks_dir = ['/a']\n",
                "containers.conf.d/a.conf": "[engine]\nhooks_dir = ['/b', {append = true}]\n",
            },
            ["/a", "/b"],
        ),
    ],
)
def test_podman_goes_on_looking_where_it_looked(
    files: dict[str, str], others: list[str] | None, place: Enforcing
) -> None:
    etc = place.drop_in.parent.parent
    place.drop_in.parent.mkdir(parents=True)
    for name, text in files.items():
        (etc / name).write_text(text)
    for _ in range(2):  # what it says itself is not what it goes by
        hooks_enforcing.install(place)
        told = tomllib.loads(place.drop_in.read_text())["engine"]["hooks_dir"]
        assert told == [*(others or [str(place.layout.hooks_dir)]), str(place.hooks_dir)]
        assert doctor.hooks_directories(etc) == list(map(Path, told))
        assert codes(place) == []


def test_a_later_file_that_keeps_podman_from_looking_is_found(place: Enforcing) -> None:
    hooks_enforcing.install(place)
    later = place.drop_in.with_name("zz.conf")
    later.write_text("[engine]\nhooks_dir = ['/b']\n")
    assert "hook-not-searched" in codes(place)
    later.write_text(f"[engine]\nhooks_dir = ['{place.layout.hooks_dir}', '{place.hooks_dir}']\n")
    assert codes(place) == []


def test_what_tells_podman_of_another_installation_is_left_alone(place: Enforcing) -> None:
    place.drop_in.parent.mkdir(parents=True)
    place.drop_in.write_text("[engine]\nhooks_dir = ['/elsewhere/hooks.d']\n")
    assert not place.is_there and codes(place) == []
    assert main(["hooks", "uninstall", *options(place)]) == 0
    assert place.drop_in.exists()


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_missing_and_a_changed_file_are_found(name: str, place: Enforcing, tmp_path: Path) -> None:
    hooks_enforcing.install(place)
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert codes(place) == ["hook-file-stale"]
    path.unlink()
    (found,) = hooks_enforcing.findings(place)
    assert found.code == "hook-file-missing" and str(path) in found.message
    # podman passes over these without a word; of the others the hook itself does not start anything.
    open_ = path.name in ("scmm-precreate", "scmm-precreate.json", "scmm-hooks.conf")
    assert ("podman starts containers that ask for a policy without one" in found.message) is open_


def test_a_starter_that_cannot_run_and_others_who_can_write_are_found(
    place: Enforcing, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks_enforcing.install(place)
    (place.layout.libexec_dir / "scmm-precreate").chmod(0o644)
    assert codes(place) == ["hook-not-executable"]
    monkeypatch.setattr(installation, "writable_by_others", lambda path: f"{path} can be written by others")
    assert "hook-unsafe" in codes(place)
    with pytest.raises(Failure, match="must be writable by root only"):
        hooks_enforcing.install(place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shim: {policy_dir: policies}\n", ".policy_dir: 'policies' is not an absolute path"),
        ("shim: {images: 7, speed: 1}\n", ".speed: no such setting"),
        ("shim: [1]\n", "a mapping of settings expected"),
    ],
)
def test_bad_settings_are_told_and_nothing_is_written(text: str, message: str, place: Enforcing) -> None:
    place.layout.config.write_text(text)
    with pytest.raises(BadInput) as caught:
        hooks_enforcing.install(place)
    assert message in str(caught.value) and str(place.layout.config) in str(caught.value)
    assert not place.layout.libexec_dir.exists() and not place.drop_in.exists()


def test_status_tells_whether_policies_are_enforced(place: Enforcing, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hooks", "install", *options(place)]) == 0
    reports: list[Any] = []
    for enforce in ([], ["--enforce"]):
        assert main(["hooks", "install", *enforce, *options(place)]) == 0
        capsys.readouterr()
        assert main(["hooks", "status", "--json", *options(place)]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert [(each["installed"], each["enforcing"]) for each in reports] == [(True, False), (True, True)]
    assert main(["hooks", "status", *options(place)]) == 0
    assert f"policies are enforced from {place.hooks_dir}, but in exec and health checks" in capsys.readouterr().out
    place.descriptor.unlink()
    assert main(["hooks", "status", "--json", *options(place)]) == 1
    assert json.loads(capsys.readouterr().out)["enforcing"] is False


def test_doctor_says_what_is_left_out(place: Enforcing) -> None:
    (check,) = cli_doctor.enforcing(place, shim=False)
    assert check.verdict is Verdict.OK and "not installed" in check.detail
    hooks_enforcing.install(place)
    for shim, verdict in ((False, Verdict.WARNING), (True, Verdict.OK)):
        (check,) = cli_doctor.enforcing(place, shim=shim)
        assert check.verdict is verdict
        assert "`podman exec` and health checks run without the policy" in check.detail
        assert bool(check.remedy) is not shim
    (place.layout.libexec_dir / "scmm-precreate").unlink()
    (check,) = cli_doctor.enforcing(place, shim=True)
    assert check.verdict is Verdict.FAILED and "without one" in check.detail
    place.layout.config.write_text("shim: 7\n")
    (check,) = cli_doctor.enforcing(place, shim=True)
    assert check.verdict is Verdict.FAILED and "a mapping of settings expected" in check.detail
