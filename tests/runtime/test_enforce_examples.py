"""The images of examples/: they work under their policies and under new ones, and what those hold is held."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import example_images
import pytest
from enforced import NUMBERS, Tools, make_tools
from example_images import EXAMPLES, SERVICES, serving
from recordings import Ground, await_capture, recorded
from support import Hooks

from rig.process import RigError
from scmm_oci.capture import file as capture_file
from scmm_oci.cli.main import main
from scmm_oci.policy import document
from scmm_oci.policy.admit import refusals

#: As the examples' README has it. Docker's own profile answers clone3 with ENOSYS, and podman's does not.
WORDS = ("--portable", "--unseen-arguments", "enosys", "--check-argument", "ioctl:1")
ENGINES = ("podman", "docker")
#: Where the images have their policies, and their programs (redis-server is a link).
POLICIES = {name: f"/etc/{name}.scmm-pol" for name in SERVICES}
PROGRAMS = {"nginx": "/usr/sbin/nginx", "redis": "/usr/bin/redis-check-rdb"}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return make_tools(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest, tools: Tools) -> Callable[[str, str], tuple[Ground, str]]:
    """An engine, and the reference of an example's image in it, built once."""
    found: dict[tuple[str, str], str] = {}

    def get(engine: str, name: str) -> tuple[Ground, str]:
        ground: Ground = request.getfixturevalue(engine)
        if (engine, name) not in found:
            policy = tools.compiled(name, EXAMPLES / name / f"{name}.scmm.yaml")
            files = {"scmm-enforce": tools.launcher, f"{name}.scmm-pol": policy}
            context = tools.base / f"{engine}-{name}"
            found[engine, name] = example_images.build(ground.engine, name, ground.services, context, files)
        return ground, found[engine, name]

    return get


@pytest.fixture(scope="module")
def recording(built: Callable[[str, str], tuple[Ground, str]], shared_hooks: Hooks) -> Callable[[str], Path]:
    """The capture of an example's server under podman, without the launcher."""
    found: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in found:
            ground, image = built("podman", name)
            service = SERVICES[name]
            options = [*recorded(f"example-{name}"), f"--entrypoint={service.command[0]}"]
            with serving(ground.engine, service, image, *service.command[1:], options=options):
                pass
            found[name] = await_capture(shared_hooks, f"example-{name}")
        return found[name]

    return get


def confined(ground: Ground, name: str) -> Mapping[str, str]:
    """What the kernel says of a container's first process."""
    text = Path(f"/proc/{ground.engine.pid(name)}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(\d+)$", text, re.MULTILINE))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SERVICES)
def test_serves_under_the_policy_of_its_own_recording(
    built: Callable[[str, str], tuple[Ground, str]],
    recording: Callable[[str], Path],
    tools: Tools,
    name: str,
    engine: str,
) -> None:
    ground, image = built(engine, name)
    source = tools.base / f"own-{name}.scmm.yaml"
    assert main(["extract", "--non-interactive", "-i", str(recording(name)), "-o", str(source), *WORDS]) == 0
    text = source.read_text()
    policy = tools.compiled(f"{name}-own", source)
    with serving(ground.engine, SERVICES[name], image, options=[f"--volume={policy}:{POLICIES[name]}:ro"]) as container:
        there = confined(ground, container)
        assert there["NoNewPrivs"] == "1"
        assert int(there["Seccomp_filters"]) >= 2, "the engine's, and ours"
    if engine != "podman":
        return
    # The control: it is this policy, and its Landlock rules, that the server runs under.
    less = tools.base / f"less-{name}.scmm.yaml"
    less.write_text("".join(line for line in text.splitlines(True) if f'path: "/var/lib/{name}/**"' not in line))
    assert less.read_text() != text
    policy = tools.compiled(f"{name}-less", less)
    options = [f"--volume={policy}:{POLICIES[name]}:ro"]
    with (
        pytest.raises(RigError, match="denied"),
        serving(ground.engine, SERVICES[name], image, options=options),
    ):
        pass


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SERVICES)
def test_serves_under_the_policy_that_is_kept(
    built: Callable[[str, str], tuple[Ground, str]], name: str, engine: str
) -> None:
    ground, image = built(engine, name)
    with serving(ground.engine, SERVICES[name], image) as container:
        assert confined(ground, container)["NoNewPrivs"] == "1"
        said = ground.engine.logs(container)
    # Whatever this kernel lacks is said; nothing else is amiss.
    assert set(re.findall(r"scmm-enforce:   (\w+: \w+)", said)) <= {
        "files: resolve_unix",
        "ports: bind_udp",
        "ports: connect_send_udp",
    }
    assert "not enforced" not in said


@pytest.mark.parametrize("name", SERVICES)
def test_the_policy_that_is_kept_fits_a_new_recording(recording: Callable[[str], Path], name: str) -> None:
    policy = document.read(EXAMPLES / name / f"{name}.scmm.yaml")
    refused = refusals(policy, capture_file.read(recording(name)))
    # Answered ENOSYS on purpose.
    assert {str(each).split()[0] for each in refused} <= {"clone3"}, refused


#: What a server that was taken over would do, and what becomes of it: by itself, under nginx's policy, under redis's.
#: EPERM is 1 (the filter's: redis asks for sockets in another way), EACCES 13 (Landlock's), ECONNREFUSED 111.
ATTACKS = {
    "read /etc/shadow": ("0", "13", "13"),
    "read /etc/os-release": ("0", "13", "13"),
    "exec /usr/bin/env": ("127", "13", "13"),  # it has started, and finds no program `nothing`
    "connect 4000": ("111", "13", "1"),
    "bind 4001": ("0", "13", "1"),
    "open /etc/planted 0101": ("0", "13", "13"),
    "stat /etc/planted": ("0", "2", "2"),
    f"call {NUMBERS['ptrace']}": ("0", "1", "1"),
}


@pytest.mark.parametrize("name", SERVICES)
def test_what_was_taken_over_gets_nowhere(
    built: Callable[[str, str], tuple[Ground, str]], tools: Tools, name: str
) -> None:
    """Another program in the server's place, under the server's policy; and without it, where all of it succeeds."""
    ground, image = built("podman", name)
    # As root in both, lest it be permissions that hold.
    options = [f"--volume={tools.program}:{PROGRAMS[name]}:ro", "--user=0"]
    lines = "".join(f"{line}\n" for line in ATTACKS)
    bare = ground.engine.run(image, options=[*options, f"--entrypoint={PROGRAMS[name]}"], input=lines)
    assert bare.stdout.splitlines() == [free for free, _, _ in ATTACKS.values()]
    held = ground.engine.run(image, PROGRAMS[name], options=options, input=lines)
    column = 1 if name == "nginx" else 2
    assert held.stdout.splitlines() == [each[column] for each in ATTACKS.values()], held.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_the_scratch_image(request: pytest.FixtureRequest, tools: Tools, tmp_path: Path, engine: str) -> None:
    ground: Ground = request.getfixturevalue(engine)
    program = tmp_path / "hello"
    subprocess.run(["gcc", "-O2", "-static", "-o", program, EXAMPLES / "scratch/hello.c"], check=True)
    program.chmod(0o755)
    policy = tools.compiled("hello", EXAMPLES / "scratch/hello.scmm.yaml")
    files = {"scmm-enforce": tools.launcher, "hello.scmm-pol": policy, "hello": program}
    image = example_images.build(ground.engine, "scratch", "", tmp_path / "context", files)
    held = ground.engine.run(image)
    greeting = (EXAMPLES / "scratch/greeting").read_text()
    refused = ("read /hello.scmm-pol: Permission denied", "make /new: Permission denied")
    assert held.stdout == "".join(
        [greeting, *(f"{line}\n" for line in refused), "open a socket: Operation not permitted\n"]
    )
    bare = ground.engine.run(image, options=["--entrypoint=/hello"])
    assert bare.stdout == f"{greeting}read /hello.scmm-pol: done\nmake /new: done\nopen a socket: done\n"
