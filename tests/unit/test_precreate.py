"""podman's precreate hook without podman: what it answers, what it refuses and how, what it leaves, and what fails."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shim_ground import DRIVER, POLICY
from shims import Shims, make_shims
from support import ROOT, need

from scmm_oci.enforcer import again, bundle, copies, living, precreate, shim_settings
from scmm_oci.enforcer.shim_settings import Settings
from scmm_oci.recorder import installation

SOAK = bool(os.environ.get("SCMM_SOAK"))
ID = "0123456789abcdef" * 4
OTHER = "f" * 64
STARTER = "/libexec/scmm-precreate"
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {"args": ["sh", "-c", "true"], "env": ["PATH=/bin", "SCMM_POLICY=other"], "cwd": "/"},
    "root": {"path": "/missing/rootfs"},
    "mounts": [
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        {"destination": "/run/.containerenv", "type": "bind", "source": f"/run/{ID}/userdata/.containerenv"},
    ],
    "hooks": {"prestart": [{"path": "/usr/bin/other"}]},
    "linux": {"cgroupsPath": f"/libpod_parent/libpod-{ID}", "resources": {"memory": {"limit": 10**30}}},
}


@pytest.fixture(scope="module")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Shims:
    made = make_shims(tmp_path_factory.mktemp("precreate"))
    made.add("files", POLICY)
    return made


@pytest.fixture
def settings(shims: Shims, tmp_path: Path) -> Settings:
    return shim_settings.check({**shims.settings, "run_dir": str(tmp_path / "run/containers")})


def asking(*, config: dict[str, Any] = CONFIG, **annotations: str) -> dict[str, Any]:
    return {**copy.deepcopy(config), "annotations": {f"scmm.{key}": value for key, value in annotations.items()}}


def answer(config: dict[str, Any], settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(precreate.answer(json.dumps(config).encode(), settings, STARTER))
    return found


def kept(settings: Settings) -> list[str]:
    place = Path(copies.directory(settings))
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


# What is asked for


def test_a_policy_is_enforced_and_all_else_stays(settings: Settings, shims: Shims) -> None:
    config = asking(policy="files")
    found = answer(config, settings)
    (name,) = kept(settings)
    place = Path(copies.directory(settings), name)
    assert name.endswith(f".{ID}")
    assert (place / "policy").read_bytes() == shims.store.read("files")
    assert (place / "policy").stat().st_mode & 0o7777 == 0o444
    words = ["/dev/.scmm-enforce", "-q", "-p", "/dev/.scmm-policy", "-m", "standard", "--guard", "--"]
    assert found["process"] == {
        "args": [*words, *config["process"]["args"]],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": True,
    }
    assert [each["source"] for each in found["mounts"][2:]] == [str(place / "launcher"), str(place / "policy")]
    assert (place / "launcher").read_bytes() == Path(settings.launcher).read_bytes()
    assert (place / "launcher").stat().st_mode & 0o7777 == 0o111
    (ended,) = found["hooks"].pop("poststop")
    assert (ended["path"], ended["args"]) == (STARTER, ["scmm-precreate", "poststop", name])
    assert found["mounts"][:2] == config["mounts"]
    changed = ("process", "mounts")
    assert {key: found[key] for key in found if key not in changed} == {
        key: config[key] for key in config if key not in changed
    }


@pytest.mark.parametrize("annotations", [{}, {"zzzzzzzzzzzz": "x"}, {"record": "true"}])
def test_what_asks_for_no_policy_is_given_back_as_it_is(settings: Settings, annotations: dict[str, str]) -> None:
    config = asking(**annotations)
    config["process"]["env"] = ["PATH=/bin"]
    data = json.dumps(config, indent=3).encode()
    assert precreate.answer(data, settings, STARTER) == data
    assert kept(settings) == []


def hooks_of(found: dict[str, Any], stage: str, settings: Settings) -> list[list[str]]:
    return [each["args"][1:] for each in found["hooks"].get(stage, []) if each["path"] == settings.watch_hook]


@pytest.fixture
def watching(settings: Settings, tmp_path: Path) -> Settings:
    starter = tmp_path / "scmm-watch-hook"
    starter.write_text("#!/bin/sh\n")
    starter.chmod(0o755)
    return shim_settings.check({**settings.as_dict(), "watch_hook": str(starter)})


def test_the_watch_is_told_of_the_launcher(watching: Settings, shims: Shims) -> None:
    found = answer(asking(policy="files", watch="kill"), watching)
    (name,) = kept(watching)
    launcher = str(Path(copies.directory(watching), name, "launcher"))
    assert hooks_of(found, "prestart", watching) == [["prestart", "--launcher", launcher]]
    assert hooks_of(found, "poststop", watching) == [["poststop"]]
    digest = hashlib.sha256(shims.store.read("files")).hexdigest()
    assert found["annotations"] == {"scmm.policy": f"files@sha256:{digest}", "scmm.watch": "kill"}
    assert found["process"]["args"][0] == "/dev/.scmm-enforce"
    # The twin: who asks for no watch gets none.
    assert not hooks_of(answer(asking(policy="files"), watching), "prestart", watching)


def test_what_is_only_watched_is_not_enforced(watching: Settings) -> None:
    config = asking(policy="files", watch="alert", mode="watch")
    found = answer(config, watching)
    assert hooks_of(found, "prestart", watching) == [["prestart"]]
    assert {**found, "hooks": None, "process": None} == {**config, "hooks": None, "process": None}
    assert found["process"] == {**config["process"], "env": ["PATH=/bin"]}
    assert kept(watching) == []


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({"policy": "files", "watch": "kil"}, "known values: count, alert, freeze, kill"),
        ({"watch": "kill"}, "there is no policy other"),  # that of the environment
        ({"policy": "files", "mode": "watch"}, "does not say how"),
        ({"policy": "files", "mode": "watch", "watch": "kill"}, "scmm-watch-hook is not there"),
        ({"policy": "files", "watch": "freeze"}, "scmm-watch-hook is not there"),
    ],
)
def test_what_cannot_be_watched_does_not_start(settings: Settings, annotations: dict[str, str], told: str) -> None:
    (word,) = answer(asking(**annotations), settings)["process"]["args"]
    assert word.startswith(again.NOT_STARTED) and told in word
    assert kept(settings) == []


def test_what_may_start_without_starts_without(settings: Settings) -> None:
    """No hook is there to be called: the policy is enforced all the same, or nothing is done, as it is asked for."""
    found = answer(asking(policy="files", watch="alert"), settings)
    assert found["process"]["args"][0] == "/dev/.scmm-enforce" and not hooks_of(found, "prestart", settings)
    config = asking(policy="files", mode="watch", watch="alert")
    assert answer(config, settings)["process"]["args"] == config["process"]["args"]
    assert Path(settings.log_file).read_text().count("not watched: ") == 2


def test_the_environment_is_asked_as_the_shim_asks_it(settings: Settings) -> None:
    config = asking(zzzzzzzzzzzz="x")
    config["process"]["env"] = ["SCMM_POLICY=files"]
    assert answer(config, settings)["process"]["args"][0] == "/dev/.scmm-enforce"


@pytest.mark.parametrize(("glob", "enforced"), [("*/web:*", True), ("*/other:*", False)])
def test_a_mode_alone_is_for_the_policy_of_the_image(
    glob: str, enforced: bool, settings: Settings, tmp_path: Path
) -> None:
    userdata = tmp_path / "overlay-containers" / ID / "userdata"
    below_runroot = tmp_path / "run/overlay-containers" / ID / "userdata"
    userdata.mkdir(parents=True)
    record = [{"id": ID, "metadata": json.dumps({"image-name": "localhost/web:latest"})}]
    (userdata.parent.parent / "containers.json").write_text(json.dumps(record))
    settings.images = [shim_settings.Image(image=glob, policy="files", digest=None, mode="standard")]
    config = asking(mode="seccomp")
    config["process"]["env"] = []
    config["mounts"] += [
        {"destination": "/etc/hosts", "type": "bind", "source": f"{below_runroot}/hosts"},
        {"destination": "/dev/shm", "type": "bind", "source": f"{userdata}/shm"},
    ]
    words = answer(config, settings)["process"]["args"]
    if enforced:
        assert words[0] == "/dev/.scmm-enforce" and words[words.index("-m") + 1] == "seccomp"
    else:
        assert "no policy is named" in words[0]
    (userdata.parent.parent / "containers.json").unlink()
    (word,) = answer(config, settings)["process"]["args"]
    assert "which image it is of cannot be told" in word


def without(name: str) -> Any:
    def change(config: dict[str, Any], settings: Settings) -> None:
        setattr(settings, name, f"/missing/{name}")

    return change


def edited(**members: Any) -> Any:
    def change(config: dict[str, Any], settings: Settings) -> None:
        for name, value in members.items():
            config[name] = value

    return change


def variables(*entries: str) -> Any:
    return lambda config, settings: config["process"].update(env=list(entries))


def open_run_dir(config: dict[str, Any], settings: Settings) -> None:
    place = Path(copies.directory(settings))
    place.mkdir(parents=True)
    place.chmod(0o777)


def seccomp(config: dict[str, Any], settings: Settings) -> None:
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 7}


#: What is asked for, what is wrong there → what is told.
REFUSED: dict[str, tuple[dict[str, str], Any, str]] = {
    "unknown policy": ({"policy": "file"}, None, "there is no policy file in "),
    "other digest": ({"policy": f"files@sha256:{'0' * 64}"}, None, f"and sha256:{'0' * 64} was asked for"),
    "no name": ({"policy": "../files"}, None, "a policy's name is 1 to 128 letters"),
    "unknown mode": ({"policy": "files", "mode": "stritc"}, None, "scmm.mode='stritc'"),
    "mode alone": ({"mode": "strict"}, variables(), "no policy is named"),
    "misspelt": ({"polcy": "files"}, variables(), "did you mean scmm.policy?"),
    "no launcher": ({"policy": "files"}, without("launcher"), "the launcher /missing/launcher is not there"),
    "no store": ({"policy": "files"}, without("policy_dir"), "there is no policy store /missing/policy_dir"),
    "others could write": ({"policy": "files"}, open_run_dir, "can be written by others"),
    "malformed mounts": ({"policy": "files"}, edited(mounts={}), ".mounts: not a list of objects"),
    "malformed seccomp": ({"policy": "files"}, seccomp, "config.json: "),
    "no arguments": ({"policy": "files"}, edited(process={"args": []}), ".process.args: not a list"),
    "required by environment": (
        {"policy": "files"},
        variables("SCMM_RECORD=required"),
        "podman's hooks record by the annotation scmm.record",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_gets_a_program_that_cannot_be_and_says_why(
    case: str, settings: Settings, tmp_path: Path
) -> None:
    annotations, change, reason = REFUSED[case]
    settings.log_file = str(tmp_path / "log")
    config = asking(**annotations)
    if change is not None:
        change(config, settings)
    found = answer(config, settings)
    (word,) = found["process"]["args"]
    assert word.startswith("scmm-precreate: not started: ") and word.endswith("/") and reason in word
    assert found["hooks"] == {}
    assert kept(settings) == []
    assert reason in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("policy", "mode"), [("asking", "standard"), ("files", "ask")])
def test_what_asks_a_monitor_is_left_to_the_shim(shims: Shims, settings: Settings, policy: str, mode: str) -> None:
    """Without scmm-runc it cannot start; scmm-runc finds all that there was, however often the hook was called."""
    shims.add("asking", {**POLICY, "syscalls": [{"names": ["mkdir"], "action": "notify"}]})
    shims.add("files", {**POLICY, "syscalls": [{"names": ["mkdir"], "action": "deny"}]})
    config = asking(policy=policy, mode=mode)
    found = answer(answer(config, settings), settings)
    word, *rest = found["process"]["args"]
    assert word.startswith("scmm-precreate: not started: ") and word.endswith("/") and "podman --runtime scmm" in word
    assert rest[-3:] == config["process"]["args"] and len(rest) == 4
    assert again.take_back(found) and found == config
    # The controls: a word of the program's own stays, and so does one that is all there is.
    assert not again.take_back(found)
    alone = {"process": {"args": [word]}}
    assert not again.take_back(alone) and alone["process"]["args"] == [word]
    shims.add("files", POLICY)


def test_a_recording_that_the_environment_asks_for_is_told_and_stops_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    settings.log_file = str(tmp_path / "log")
    config = asking(policy="files")
    variables("SCMM_RECORD=1")(config, settings)
    assert answer(config, settings)["process"]["args"][0] == "/dev/.scmm-enforce"
    assert "not recorded: SCMM_RECORD is for scmm-runc" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"annotations": {"scmm.policy": "x"}}', b'{"a": 1, "a": 2}', b'{"x": "' + b"x" * (16 << 20)],
    ids=["empty", "cut", "a list", "no process", "twice", "huge"],
)
def test_what_is_no_configuration_is_an_error(data: bytes, settings: Settings) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        precreate.answer(data, settings, STARTER)


def test_a_reason_has_no_control_characters_and_an_end(settings: Settings) -> None:
    (word,) = answer(asking(policy="\x1b[2J\n" + "x" * 9000), settings)["process"]["args"]
    assert word.isprintable() and 200 < len(word) < 600


def test_the_root_of_a_user_namespace_can_read_the_copy(settings: Settings) -> None:
    need("KERNEL", None if os.geteuid() == 0 else "only root can give a file away")
    config = asking(policy="files")
    config["linux"] |= {
        f"{kind}Mappings": [{"containerID": 0, "hostID": number, "size": 1000}]
        for kind, number in (("uid", 70000), ("gid", 80000))
    }
    answer(config, settings)
    (name,) = kept(settings)
    place = Path(copies.directory(settings), name)
    status = (place / "policy").stat()
    assert (status.st_uid, status.st_gid) == (70000, 80000)
    assert [path.stat().st_mode & 0o777 for path in (place, place.parent, place.parent.parent)] == [0o711] * 3


# Twice


def test_a_second_hook_enforces_once(settings: Settings) -> None:
    once = answer(asking(policy="files"), settings)
    (first,) = kept(settings)
    twice = answer(once, settings)
    assert twice["process"] == once["process"]
    assert [each["destination"] for each in twice["mounts"]] == [each["destination"] for each in once["mounts"]]
    assert kept(settings) == [first], "the copy of the container's earlier start is gone"


ARGUMENTS = st.lists(st.sampled_from(["--", "sh", "-p", "/dev/.scmm-enforce", ""]), min_size=1, max_size=4)


@given(arguments=ARGUMENTS, mode=st.sampled_from(["standard", "permissive"]), report=st.booleans(), tmpfs=st.booleans())
def test_what_was_put_in_can_be_taken_back(arguments: list[str], mode: str, report: bool, tmpfs: bool) -> None:
    mounts = [{"destination": "/dev", "type": "tmpfs"}] if tmpfs else []
    config: dict[str, Any] = {"process": {"args": arguments, "noNewPrivileges": True}, "mounts": mounts}
    before = copy.deepcopy(config)
    plan = bundle.Plan(launcher_source="/l", policy_source="/p", mode=mode, report_source="/r" if report else "")
    bundle.enforce(config, plan)
    assert config != before
    assert again.take_back(config)
    assert config == before
    assert not again.take_back(config), "nothing is left to take back"


@pytest.mark.parametrize("arguments", [["sh"], [], ["/dev/.scmm-enforce", "sh"]])
def test_mounts_of_ours_without_the_launcher_before_the_program_are_an_error(arguments: list[str]) -> None:
    mounts = [{"destination": f"/dev/{name}"} for name in (bundle.LAUNCHER, bundle.POLICY)]
    config = {"process": {"args": arguments}, "mounts": mounts}
    with pytest.raises(ValueError, match="is a mount, and not what the container starts"):
        again.take_back(config)
    assert not again.take_back({**config, "mounts": mounts[:1]})


# Copies


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (CONFIG, ID),
        ({"linux": {"cgroupsPath": f"machine.slice:libpod:{ID}"}}, ID),
        ({"mounts": [{"source": "tmpfs"}, {"source": f"/x/{ID}/userdata/hosts"}]}, ID),
        ({"linux": {"cgroupsPath": f"/a/{ID}"}}, ""),
        ({"linux": {"cgroupsPath": f"/libpod-{ID[1:]}"}}, ""),
        ({"linux": {"cgroupsPath": f"/libpod-{ID[1:]}X"}}, ""),
        ({"linux": [], "mounts": 7}, ""),
        ({"mounts": [7, {"source": 7}, {"source": "userdata/x"}]}, ""),
        ({}, ""),
    ],
)
def test_the_container_is_known_by_where_podman_says_it(config: dict[str, Any], found: str) -> None:
    assert copies.container_of(config) == found


def left(run: Path, name: str) -> Path:
    place = run / name
    place.mkdir(mode=0o700, parents=True)
    (place / "policy").touch(mode=0o444)
    return place


def test_what_a_podman_that_is_gone_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    mine = living.generation()
    pid, start, namespace = mine.split("-")
    gone = f"{pid}-{int(start) + 1}-{namespace}"
    run = tmp_path / "precreate"
    left(run, f"{gone}.{mine}.{OTHER}")
    left(run, f"{gone}.{mine}.unknown")
    stays = [left(run, name) for name in (f"{mine}.{gone}.{OTHER}", f"{mine}.{gone}.unknown", f"{gone}.{mine}.x", "x")]
    run.chmod(0o700)
    with copies.claim(str(run), ID) as place:
        assert sorted(run.iterdir()) == sorted([*stays, Path(place.path)])
        place.give_up()
    assert sorted(run.iterdir()) == sorted(stays)
    assert all((place / "policy").exists() for place in stays)


def test_the_poststop_hook_removes_its_copy_once(settings: Settings) -> None:
    answer(asking(policy="files"), settings)
    answer(asking(policy="files", config={**CONFIG, "linux": {}, "mounts": CONFIG["mounts"][:1]}), settings)
    mine, other = kept(settings)
    assert mine.endswith(ID) and other.endswith(".unknown")
    assert copies.remove(copies.directory(settings), mine)
    assert kept(settings) == [other]
    assert not copies.remove(copies.directory(settings), mine)


@pytest.mark.parametrize("name", ["", ".", "..", "x", "1-2-3.4-5-6", "1-2-3.4-5-6./x", f"1-2.4-5-6.{ID}", "../1-2-3"])
def test_another_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no copy's name"):
        copies.remove(str(tmp_path), name)


def test_a_copy_of_a_podman_that_has_gone_is_not_kept(tmp_path: Path) -> None:
    with copies.claim(str(tmp_path / "run"), ID) as place:
        copies.keep(place)
        gone = copies.Place(place._run, place._descriptor, path="/x/1-2-3.y.z", generation="", claimed=False)
        with pytest.raises(ProcessLookupError, match="is gone"):
            copies.keep(gone)


# As a program


@pytest.fixture
def starter(shims: Shims, tmp_path: Path) -> Path:
    """The starter, with settings beside it."""
    values = {**shims.settings, "run_dir": str(tmp_path / "run/containers"), "log_file": str(tmp_path / "log")}
    (tmp_path / "precreate.json").write_text(json.dumps(values))
    from scmm_oci.cli import hooks_enforcing

    path = tmp_path / "scmm-precreate"
    path.write_bytes(installation.starter(tmp_path / "precreate.json", **hooks_enforcing._STARTER))
    path.chmod(0o755)
    return path


def call(starter: Path, *words: str, config: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    text = "" if config is None else json.dumps(config)
    return subprocess.run(
        [starter, *words], input=text, env={}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_starter_enforces_and_its_poststop_hook_removes(starter: Path) -> None:
    done = call(starter, "precreate", config=asking(policy="files"))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["process"]["args"][0] == "/dev/.scmm-enforce"
    run = starter.parent / "run/precreate"
    assert len(list(run.iterdir())) == 1
    (ended,) = found["hooks"]["poststop"]
    assert ended["path"] == str(starter)
    assert call(Path(ended["path"]), *ended["args"][1:]).returncode == 0
    assert list(run.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("poststop",), ("other",), ("precreate", "x")])
def test_other_words_are_told(starter: Path, words: tuple[str, ...]) -> None:
    done = call(starter, *words, config=asking(policy="files"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: scmm-precreate")


def test_without_its_settings_nothing_starts(starter: Path) -> None:
    (starter.parent / "precreate.json").unlink()
    done = call(starter, "precreate", config=asking(policy="files"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "run scmm hooks install again" in done.stderr
    assert call(starter, "poststop", "x").returncode == 0


@pytest.mark.parametrize("gone", ["python", "package"])
def test_where_the_package_is_gone_nothing_starts(starter: Path, gone: str) -> None:
    lines = starter.read_text().splitlines(keepends=True)
    starter.write_text("".join(f"{gone}=/missing\n" if line.startswith(f"{gone}=") else line for line in lines))
    done = call(starter, "precreate", config=asking(policy="files"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("scmm-precreate: nothing started: ")
    assert call(starter, "precreate").returncode == 1, "whatever it was given"
    assert call(starter, "poststop", "x").returncode == 0


def test_a_package_that_does_not_load_starts_nothing(starter: Path, tmp_path: Path) -> None:
    module = tmp_path / "other/scmm_oci/enforcer/precreate.py"
    module.parent.mkdir(parents=True)
    module.write_text("raise RuntimeError('broken')\n")
    starter.write_text(starter.read_text().replace(f"package={ROOT}\n", f"package={tmp_path}/other\n"))
    done = call(starter, "precreate", config=asking(policy="files"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing started: broken; run scmm hooks install again" in done.stderr
    assert call(starter, "poststop", "x").returncode == 0


def test_the_hook_loads_little(starter: Path) -> None:
    # tests/lint/test_imports.py says what each of these costs.
    dear = {"json", "re", "enum", "typing", "dataclasses", "pathlib", "subprocess", "scmm_oci.errors"}
    code = "import sys; sys.path.append(sys.argv.pop(1)); from scmm_oci.enforcer import precreate; "
    code += "code = precreate.main(); sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    words = [installation.python(), "-I", "-S", "-c", code, ROOT, "--settings", starter.parent / "precreate.json"]
    found = []
    for policy in ("files", "filse"):  # who is to be told of a misspelling may wait
        text = json.dumps(asking(policy=policy))
        done = subprocess.run(
            [*words, "precreate"], input=text, env={}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 and "scmm_oci.enforcer.precreate" in done.stderr.split()
        found.append(sorted(dear.intersection(done.stderr.split())))
    assert found[0] == []
    assert "scmm_oci.errors" in found[1]


# Faults

FAULTY = DRIVER.replace("import shim, shim_exec, shim_start", "import precreate").replace(
    "shim.main(", "precreate.main("
)


def fault(starter: Path, how: str, number: int) -> tuple[int, str, bytes]:
    """Exit code, the call of that number that failed, and what was printed; the caller has ended since."""
    reading, writing = os.pipe()
    settings = starter.parent / "precreate.json"
    words = [installation.python(), "-I", "-S", "-c", FAULTY, ROOT, how, number, "--settings", settings, "precreate"]
    with open(reading, "rb") as told:
        done = subprocess.run(
            ["bash", "-c", f'"$@" 3>&{writing}; code=$?; exit $code', "sh", *map(str, words)],
            input=json.dumps(asking(policy="files")).encode(),
            capture_output=True,
            timeout=60,
            pass_fds=[writing],
            check=False,
        )
        os.close(writing)
        return done.returncode, told.read().decode(), done.stdout


@pytest.mark.parametrize("how", ["kill", "28", *(["13", "unexpected"] if SOAK else [])])
def test_whatever_fails_podman_is_given_nothing_that_is_not_enforced(how: str, starter: Path, shims: Shims) -> None:
    run = starter.parent / "run/precreate"
    outcomes = {"failed": 0, "refused": 0, "enforced": 0}
    number, failed = 0, "-"
    while failed:
        number += 1
        code, failed, printed = fault(starter, how, number)
        assert number < 300
        if code:
            outcomes["failed"] += 1
            continue
        config = json.loads(printed)
        (word, *more) = config["process"]["args"]
        if more:
            assert word == "/dev/.scmm-enforce" and config["process"]["noNewPrivileges"] is True, (number, failed)
            assert Path(config["mounts"][-1]["source"]).read_bytes() == shims.store.read("files")
            assert Path(config["mounts"][-1]["source"]).stat().st_mode & 0o777 == 0o444
            outcomes["enforced"] += 1
        else:
            assert word.startswith("scmm-precreate: not started: ") and word.endswith("/"), (number, failed)
            outcomes["refused"] += 1
    assert outcomes["enforced"] >= 1  # the last, in which nothing failed
    assert outcomes["failed" if how == "kill" else "refused"] > 10, outcomes
    # Whoever called the hooks has ended: the next one finds nothing that is still of use.
    assert call(starter, "precreate", config=asking(policy="files")).returncode == 0
    assert len(list(run.iterdir())) == 1
