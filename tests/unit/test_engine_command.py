"""Command lines of docker and podman: where options go, what is not understood, and engines' own help."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import need

from rig.process import missing_programs
from scmm_oci.cli import doctor
from scmm_oci.cli.docker_shim import docker_shim
from scmm_oci.cli.main import main, record
from scmm_oci.errors import BadInput, Failure
from scmm_oci.recorder import engine_answers, engine_options, engine_recording
from scmm_oci.recorder.doctor import Verdict
from scmm_oci.recorder.engine_command import EngineCommand, parse
from scmm_oci.recorder.engine_options import Options
from scmm_oci.recorder.engines import Engine

TABLES = {
    (): {"docker": Options(engine_options.DOCKER_GLOBAL), "podman": Options(engine_options.PODMAN_GLOBAL)},
    ("run",): {"docker": Options(engine_options.DOCKER_RUN), "podman": Options(engine_options.PODMAN_RUN)},
}
HELP = re.compile(r"^ +(?:-(\w), +|    +)--([\w-]+)(?: (\S+))?(?=  |$)", re.MULTILINE)


def of(text: str) -> EngineCommand:
    return parse(text.split())


def wrong(text: str) -> list[str]:
    """The problems of a command, without their place."""
    with pytest.raises(BadInput) as caught:
        of(text)
    return [str(one).removeprefix("command: ") for one in caught.value.problems]


@pytest.mark.parametrize("verb", TABLES, ids=lambda verb: " ".join(verb) or "global")
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_tables_are_what_the_engine_says_itself(engine: str, verb: tuple[str, ...]) -> None:
    need("DOCKER" if engine == "docker" else "PODMAN", missing_programs(engine))
    text = subprocess.run([engine, *verb, "--help"], capture_output=True, text=True, check=True).stdout
    rows = [match.groups() for match in HELP.finditer(text)]
    assert len(rows) > 8
    known = TABLES[verb][engine]
    for letter, name, kind in rows:
        assert known.names[name] == name
        assert (name in known.valued) == (kind is not None), name
        assert letter is None or known.letters[letter] == name


def test_no_name_or_letter_is_there_twice() -> None:
    for table in (
        engine_options.DOCKER_GLOBAL,
        engine_options.DOCKER_RUN,
        engine_options.PODMAN_GLOBAL,
        engine_options.PODMAN_RUN,
    ):
        words = [each for word in table.split() for each in word.removesuffix("=").split(",")]
        assert sorted(words) == sorted(set(words))


@pytest.mark.parametrize(
    ("text", "image", "options"),
    [
        ("docker run nginx -d", "nginx", []),
        ("docker run -d nginx", "nginx", [("detach", "true")]),
        ("docker -H unix:///s container run -dp 80:80 nginx", "nginx", ["host", "detach", ("publish", "80:80")]),
        ("podman run -it --rm -v/a:/b -e A=1 --name=web x", "x", ["interactive", "tty", "rm", "volume", "env", "name"]),
        ("podman --root /r --log-level=debug run -e=A=1 x", "x", ["root", "log-level", ("env", "A=1")]),
        ("podman run --runtime crun x", "x", [("runtime", "crun")]),
        ("podman run -c 5 x", "x", [("cpu-shares", "5")]),
        ("podman run --net=host x", "x", [("network", "host")]),
        ("docker run --rm=false -i=0 x", "x", [("rm", "false"), ("interactive", "false")]),
        ("docker run --brand-new=1 x", "x", [("brand-new", "1")]),
        ("docker run -e -- x", "x", [("env", "--")]),
        ("docker run --rm -- x", "x", ["rm"]),
        ("/usr/bin/podman run - -d", "-", []),
    ],
)
def test_options_end_at_the_image(text: str, image: str, options: list[str | tuple[str, str]]) -> None:
    found = of(text)
    assert found.image == image
    assert [one.name for one in found.options] == [each if isinstance(each, str) else each[0] for each in options]
    for each in options:
        if isinstance(each, tuple):
            assert found.last(each[0]) == each[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sudo podman run x", ["'sudo' is no engine that is known here (leave it out: "]),
        ("nerdctl run x", ["'nerdctl' is no engine that is known here (known: docker, podman)"]),
        ("docker", ["'docker' runs no container (`docker run` does)"]),
        ("docker compose up", ["'docker compose' runs no container"]),
        ("docker container ls", ["'docker container ls' runs no container"]),
        ("podman run", ["no image is given"]),
        ("podman run --rm", ["no image is given"]),
        ("podman run -e", ["-e lacks its value"]),
        ("podman run --help", ["with --help, no container is run"]),
        ("docker -v run x", ["with --version, no container is run"]),
        ("docker run --neme web x", ["'--neme' is no option of docker run that is known here (did you mean --name?)"]),
        ("docker run --brand-new 1 x", ["'--brand-new' is no option of docker run that is known here (if it takes"]),
        ("docker run -iZ x", ["-Z (of '-iZ') is no option of docker run"]),
        ("docker run --rm=perhaps x", ["'--rm=perhaps' is neither true nor false"]),
        ("docker run -y --what -d --neme=1 x", ["'-y' is no", "'--what' is no", "'--neme=1' is no"]),
        ("docker --root /x run x", ["'--root' is no option of docker that is known here"]),
    ],
)
def test_what_is_not_understood_is_told_all_of_it(text: str, says: list[str]) -> None:
    found = wrong(text)
    assert len(found) == len(says)
    for problem, words in zip(found, says, strict=True):
        assert problem.startswith(words)


def test_no_command_at_all() -> None:
    with pytest.raises(BadInput, match="no command is given"):
        parse([])


def test_where_more_options_go() -> None:
    command = of("podman --root /r container run --rm -e A=1 -- x run --rm")
    first = " ".join(command.with_options(["--new"], globals=["--g"]))
    assert first == "podman --root /r --g container run --new --rm -e A=1 -- x run --rm"
    last = " ".join(command.with_last_options(["--new"]))
    assert last == "podman --root /r container run --rm -e A=1 --new -- x run --rm"
    assert " ".join(of("docker run x").with_last_options(["--new"])) == "docker run --new x"


def test_global_options_behind_run_are_for_other_verbs_too() -> None:
    assert of("podman --root=/r run --runtime crun --name x y").client == ("podman", "--root=/r", "--runtime=crun")
    assert of("docker -D run --name x y").client == ("docker", "-D")


WORDS = st.sampled_from(
    ["-i", "-t", "-it", "--rm", "-e", "A=1", "--name", "web", "--name=web", "-p80", "--", "x", "-d"]
)


@given(st.lists(WORDS, max_size=8), st.sampled_from(list(Engine)))
def test_what_is_added_is_read_again_and_the_rest_stays(words: list[str], engine: Engine) -> None:
    try:
        command = parse([engine, "run", *words])
    except BadInput:
        return
    for changed in (command.with_options(["--label=a=b"]), command.with_last_options(["--label=a=b"])):
        again = parse(changed)
        assert again.image == command.image
        assert sorted(map(repr, again.options)) == sorted(
            map(repr, [*command.options, *of("docker run -l a=b x").options])
        )
        changed.remove("--label=a=b")
        assert changed == list(command.words)


def test_pairs() -> None:
    lists = "run --annotation a=1,b=2 --annotation=c=3,4 -e X=1,Y=2 -e HOME -e GONE x"
    podman, docker = of(f"podman {lists}"), of(f"docker {lists}")
    assert podman.pairs("annotation") == {"a": "1", "b": "2", "c": "3"}
    assert docker.pairs("annotation") == {"a": "1,b=2", "c": "3,4"}
    assert docker.pairs("env", {"HOME": "/root"}) == {"X": "1,Y=2", "HOME": "/root"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker run localhost:5000/team/nginx:1.2@sha256:ab", "nginx"),
        ("docker run nginx", "nginx"),
        ("docker run --name web nginx", "web"),
        ("podman run --rootfs /srv/tree/", "tree"),
        ("podman run .x", "_.x"),
        ("podman run :", "container"),
    ],
)
def test_usual_name(text: str, name: str) -> None:
    assert engine_recording.usual_name(of(text)) == name


@pytest.mark.parametrize(
    ("text", "name", "asks"),
    [
        ("podman run x", None, False),
        ("podman run --annotation scmm.record=required,scmm.name=web x", "web", True),
        ("docker run -e SCMM_RECORD=1 -e SCMM_NAME=web x", "web", True),
        ("docker run --annotation scmm.record=true x", None, True),
        ("podman run -e SCMM_RECORD=0 x", None, False),  # podman's hooks know annotations only
    ],
)
def test_what_the_command_itself_asks_for(text: str, name: str | None, asks: bool) -> None:
    assert engine_recording.wanted(of(text), {}) == engine_recording.Wanted(name, asks)


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("podman --remote run x", {}, "--remote is for an engine on another machine"),
        ("podman --url=ssh://h run x", {}, "--url is for an engine"),
        ("podman -H tcp://h:1 run x", {}, "--host is for an engine"),
        ("podman --context=far run x", {}, "--context is for an engine"),
        ("podman run x", {"CONTAINER_HOST": "ssh://h"}, "CONTAINER_HOST: is set"),
        ("podman run x", {"CONTAINER_CONNECTION": "far"}, "CONTAINER_CONNECTION: is set"),
        ("docker -H ssh://h run x", {}, "--host: 'ssh://h' is an engine on another machine"),
        ("docker --host=tcp://10.0.0.1:2375 run x", {"DOCKER_HOST": "unix:///a"}, "--host: 'tcp://10.0.0.1:2375' is"),
        ("docker -H localhost.example.org:2375 run x", {}, "--host: 'localhost.example.org:2375' is"),
        ("docker run x", {"DOCKER_HOST": "tcp://[fd00::1]:2375"}, "DOCKER_HOST: is set: 'tcp://[fd00::1]:2375' is"),
        ("podman run --annotation scmm.record=false x", {}, "scmm.record='false' says that it is not recorded"),
        ("docker run -e SCMM_RECORD=0 x", {}, "SCMM_RECORD='0' says that it is not recorded"),
        ("docker run -e SCMM_RECORD x", {"SCMM_RECORD": "no"}, "SCMM_RECORD='no' says"),
        ("podman run --annotation scmm.name=a/b x", {}, "'a/b' is not a capture's name"),
    ],
)
def test_what_cannot_be_recorded(text: str, environ: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        engine_recording.wanted(of(text), environ)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("podman --remote=false --context=default run x", {"CONTAINER_HOST": ""}),
        ("docker run x", {}),
        ("docker run x", {"DOCKER_HOST": ""}),
        ("docker run x", {"DOCKER_HOST": "tcp://127.0.0.1:2375"}),
        ("docker run x", {"DOCKER_HOST": "tcp://[::1]:2375"}),
        ("docker -H unix:///run/docker.sock run x", {"DOCKER_HOST": "ssh://h"}),
        ("docker -H localhost:2375 run x", {}),
    ],
)
def test_engines_of_this_machine(text: str, environ: dict[str, str]) -> None:
    assert engine_recording.elsewhere(of(text), environ) == []


def test_podman_says_where_it_looks_for_hooks(tmp_path: Path) -> None:
    says = tmp_path / "podman"
    lines = {
        "/a,/b c": "      --hooks-dir strings    Set it (may be set) (default [/a,/b c])",
        "": "      --hooks-dir strings    Set it (may be set)",
    }
    for dirs, line in lines.items():
        says.write_text(
            f"#!/bin/sh\ncat <<'E'\n      --help    Help\n{line}\n      --identity string   x (default [z])\nE\n"
        )
        says.chmod(0o755)
        assert engine_answers.podman_hooks_dirs([str(says)]) == (dirs.split(",") if dirs else [])


# Which of Docker's runtimes is ours.


def starter(directory: Path, name: str) -> str:
    """A program that looks like scmm-runc's starter, with settings beside it."""
    path = directory / name
    path.write_text("#!/bin/sh\nexec python3 -c 'from scmm_oci.enforcer.shim import main'\n")
    (directory / "shim.json").write_text(json.dumps({"runtimes": {"default": "/usr/sbin/runc"}}))
    return str(path)


def docker_says(directory: Path, runtimes: dict[str, str], default: str) -> str:
    client = directory / "docker"
    value = {"runtimes": {name: {"path": path} for name, path in runtimes.items()}, "default": default}
    client.write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(value)}\nE\n")
    client.chmod(0o755)
    return str(client)


@pytest.mark.parametrize(
    ("names", "default", "given", "chosen"),
    [
        (["scmm", "scmm-crun"], "runc", "", "scmm"),
        (["scmm", "scmm-crun"], "scmm-crun", "", "scmm-crun"),
        (["b", "a"], "runc", "", "a"),
        (["scmm", "scmm-crun"], "runc", "--runtime=scmm-crun", None),
    ],
)
def test_which_runtime_of_dockers_is_taken(
    names: list[str], default: str, given: str, chosen: str | None, tmp_path: Path
) -> None:
    runtimes = {"runc": "runc", "sh": "/bin/sh", **{name: starter(tmp_path, f"of-{name}") for name in names}}
    client = docker_says(tmp_path, runtimes, default)
    found = docker_shim(parse([client, "run", *filter(None, [given]), "x"]))
    assert found.options == (() if chosen is None else (f"--runtime={chosen}",))
    assert found.settings.runtimes == {"default": "/usr/sbin/runc"}


def test_doctor_tells_that_docker_has_not_read_its_configuration(tmp_path: Path) -> None:
    (told,) = doctor.unnoticed([docker_says(tmp_path, {"runc": "runc"}, "runc")])
    assert (told.name, told.verdict) == ("docker", Verdict.WARNING)
    assert "does not know scmm-runc" in told.detail and "systemctl reload docker" in told.remedy
    read = {"runc": "runc", "scmm": starter(tmp_path, "scmm-runc")}
    assert list(doctor.unnoticed([docker_says(tmp_path, read, "runc")])) == []
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert list(doctor.unnoticed([str(tmp_path / "docker")])) == [], "no daemon"


def test_a_runtime_of_dockers_that_is_not_ours(tmp_path: Path) -> None:
    client = docker_says(tmp_path, {"runc": "runc", "scmm": starter(tmp_path, "scmm-runc")}, "runc")
    with pytest.raises(BadInput, match=r"--runtime 'runc' is not scmm-runc \(leave it out, or give scmm\)"):
        docker_shim(parse([client, "run", "--runtime", "runc", "x"]))
    (tmp_path / "shim.json").write_text("{}")
    with pytest.raises(Failure, match=r"cannot be read: .*\.runtimes"):
        docker_shim(parse([client, "run", "x"]))
    client = docker_says(tmp_path, {"runc": "runc"}, "runc")
    with pytest.raises(Failure, match=r"not know scmm-runc.*where that was done: systemctl reload docker"):
        docker_shim(parse([client, "run", "x"]))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo no daemon >&2; exit 1", "docker: no daemon"),
        ("exit 3", "docker ended with status 3"),
        ("echo text", "not understood: 'text"),
        ('echo \'{"runtimes": 5, "default": 1}\'', "not understood"),
        ("printf '\\033[2J' >&2; exit 1", r"docker: \\x1b"),
    ],
)
def test_docker_that_does_not_answer(script: str, says: str, tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    with pytest.raises(Failure, match=says):
        engine_answers.docker_runtimes([str(client)])
    with pytest.raises(Failure, match="cannot be executed: No such file"):
        engine_answers.docker_runtimes([str(tmp_path / "nosuch")])


# The command line of `scmm record run`, which `scmm record` of a command that is called so is not.


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "command: no command is given"),
        (["run", "--", "true"], "'true' is no engine"),
        (["run", "-o", "", "--name", "a/b", "--", "podman", "run"], "--output: the file's name is empty"),
        (["run", "-o", "", "--name", "a/b", "--", "podman", "run"], "--name: is not a capture's name"),
        (["run", "-o", "", "--name", "a/b", "--", "podman", "run"], "command: no image is given"),
        (
            ["run", "-o", "x", "--json", "--", "docker", "run", "-d", "x"],
            "--json: does not go with a container that goes",
        ),
        (
            ["run", "-o", "x", "--json", "--", "docker", "run", "-d", "x"],
            "--output: does not go with a container that goes",
        ),
        (["run", "--name", "a", "--", "docker", "run", "-eSCMM_NAME=b", "x"], "--name: the command says b"),
        (["-q", "run", "--", "docker", "run", "x"], "`run` comes first"),
    ],
)
def test_usage_of_record_run(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(words) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert main(["record", *words]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_command_that_is_called_run_is_still_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(
        "scmm_oci.cli.recording.run", lambda settings, target, *_, **__: seen.append(target.command) or 0
    )
    assert record(["--", "run", "fast"]) == 0
    assert record(["-q", "--", "run"]) == 0
    assert seen == [("run", "fast"), ("run",)]
    assert record(["run", "--help"]) == 0
    assert "scmm-record run -- podman run" in " ".join(capsys.readouterr().out.split())
