"""What is built: the same BPF objects and launchers wherever they are built, and a wheel with all that is needed and no
more."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

if os.environ.get("CI") not in ("1", "true"):
    pytest.importorskip("hatchling", reason="hatchling is not installed: run make setup")

import hatch_build

ROOT = Path(hatch_build.__file__).resolve().parent
MACHINES = sorted(hatch_build.MACHINES)
LAUNCHERS = [f"scmm-enforce.{machine}" for machine in MACHINES]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "out", "*.bpf.o", *LAUNCHERS)

# elf.h: e_machine by machine, and what of program headers is asked for.
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK = 1, 2, 3, 0x6474E551
PF_X, PF_W = 1, 2


def compiled(directory: Path, machine: str) -> bytes:
    """The object for `machine`, compiled in a checkout at `directory`."""
    shutil.copytree(ROOT / "bpf", directory / "bpf", dirs_exist_ok=True)
    target = directory / "made" / f"{machine}.o"
    hatch_build.compile_object(directory, machine, target)
    assert [path.name for path in target.parent.iterdir()] == [target.name], "a temporary file is left"
    return target.read_bytes()


def absolute_paths(data: bytes) -> list[bytes]:
    """Everything in an object that looks like a path from the root: a slash at the beginning of a string."""
    return re.findall(rb"(?<![ -~])/[ -~]{2,}", data)


@pytest.mark.parametrize("machine", MACHINES)
def test_an_object_is_the_same_from_every_checkout(machine: str, tmp_path: Path) -> None:
    first = compiled(tmp_path / "a", machine)
    second = compiled(tmp_path / "another" / "checkout of it", machine)
    assert first == second
    assert absolute_paths(first) == []
    assert str(tmp_path).encode() not in first


def test_a_changed_source_gives_another_object(tmp_path: Path) -> None:
    first = compiled(tmp_path, "x86_64")
    text = (tmp_path / "bpf" / "cgroups.bpf.h").read_text()
    assert "#define TS_COMPAT 0x0002" in text
    shutil.copytree(ROOT / "bpf", tmp_path / "changed" / "bpf")
    (tmp_path / "changed" / "bpf" / "cgroups.bpf.h").write_text(text.replace("TS_COMPAT 0x0002", "TS_COMPAT 0x0004"))
    target = tmp_path / "changed" / "x.o"
    hatch_build.compile_object(tmp_path / "changed", "x86_64", target)
    assert target.read_bytes() != first


def test_absolute_paths_are_found(tmp_path: Path) -> None:
    assert absolute_paths(b"\0./bpf/recorder.bpf.c\0Dual MIT/GPL\0") == []
    assert absolute_paths(b"\0/home/someone/bpf\0") == [b"/home/someone/bpf"]
    # The control: a compiler that is given absolute paths writes them down.
    source = tmp_path / "bpf" / "recorder.bpf.c"
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    target = tmp_path / "absolute.o"
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-D__TARGET_ARCH_x86"]
    command = [hatch_build.tool("clang"), *options, "-c", source, "-o", target]
    subprocess.run(command, check=True)
    assert any(path.startswith(bytes(tmp_path)) for path in absolute_paths(target.read_bytes()))


def test_a_broken_source_stops_the_build_and_leaves_nothing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    with (tmp_path / "bpf" / "recorder.bpf.c").open("a") as file:
        file.write("int unused(void) { int never; return 0; }\n")  # a warning is an error
    target = tmp_path / "made" / "x.o"
    with pytest.raises(subprocess.CalledProcessError):
        hatch_build.compile_object(tmp_path, "x86_64", target)
    assert list(target.parent.iterdir()) == []


@dataclass(frozen=True)
class Elf:
    """What the headers of an ELF file of 64 bits say: its machine, and the flags of each kind of segment."""

    machine: int
    is_fixed: bool
    segments: dict[int, list[int]]


def elf(data: bytes) -> Elf:
    assert data[:6] == b"\x7fELF\x02\x01"
    kind, machine, _, _, at = struct.unpack_from("<HHIQQ", data, 16)
    size, count = struct.unpack_from("<HH", data, 54)
    segments: dict[int, list[int]] = {}
    for number in range(count):
        segment, flags = struct.unpack_from("<II", data, at + number * size)
        segments.setdefault(segment, []).append(flags)
    return Elf(machine, kind == 2, segments)


def launcher(directory: Path, machine: str) -> Path:
    """The launcher for `machine`, compiled in a checkout at `directory`."""
    shutil.copytree(ROOT / "launcher", directory / "launcher", dirs_exist_ok=True)
    target = directory / "made" / f"scmm-enforce.{machine}"
    hatch_build.compile_launcher(directory, machine, target)
    assert [path.name for path in target.parent.iterdir()] == [target.name], "a temporary file is left"
    return target


@pytest.mark.parametrize("machine", MACHINES)
def test_a_launcher_is_the_same_from_every_checkout(machine: str, tmp_path: Path) -> None:
    first = launcher(tmp_path / "a", machine)
    second = launcher(tmp_path / "another" / "checkout of it", machine)
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path).encode() not in first.read_bytes()
    assert str(ROOT).encode() not in first.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("machine", MACHINES)
def test_a_launcher_is_small_and_needs_nothing(machine: str, tmp_path: Path) -> None:
    data = launcher(tmp_path, machine).read_bytes()
    assert len(data) <= 64 * 1024
    found = elf(data)
    assert found.machine == ELF_MACHINES[machine]
    assert found.is_fixed
    assert not found.segments.keys() & {PT_INTERP, PT_DYNAMIC}
    assert [flags & PF_X for flags in found.segments[PT_GNU_STACK]] == [0]
    assert [flags for flags in found.segments[PT_LOAD] if flags & PF_X and flags & PF_W] == []
    assert any(flags & PF_X for flags in found.segments[PT_LOAD])


def test_what_a_launcher_must_not_be_is_seen(tmp_path: Path) -> None:
    """The control: an ordinary program has an interpreter, and one can have an executable stack."""
    source = tmp_path / "ordinary.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-z", "execstack", source, "-o", tmp_path / "ordinary"], check=True)
    found = elf((tmp_path / "ordinary").read_bytes())
    assert found.segments.keys() >= {PT_INTERP, PT_DYNAMIC}
    assert found.segments[PT_GNU_STACK][0] & PF_X
    assert not found.is_fixed


def test_a_changed_launcher_is_another(tmp_path: Path) -> None:
    first = launcher(tmp_path, "x86_64").read_bytes()
    source = tmp_path / "launcher" / "stop.h"
    assert "EXIT_OURS = 125" in source.read_text()
    source.write_text(source.read_text().replace("EXIT_OURS = 125", "EXIT_OURS = 124"))
    target = tmp_path / "other" / "x"
    hatch_build.compile_launcher(tmp_path, "x86_64", target)
    assert target.read_bytes() != first


def test_a_broken_launcher_stops_the_build_and_leaves_nothing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "launcher", tmp_path / "launcher")
    with (tmp_path / "launcher" / "text.c").open("a") as file:
        file.write("int unused(void) { int never; return 0; }\n")  # a warning is an error
    target = tmp_path / "made" / "x"
    with pytest.raises(subprocess.CalledProcessError):
        hatch_build.compile_launcher(tmp_path, "x86_64", target)
    assert list(target.parent.iterdir()) == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, so that building does not write into this one."""
    path = tmp_path_factory.mktemp("checkout") / "scmm-oci"
    shutil.copytree(ROOT, path, ignore=NOT_SOURCE)
    shutil.copy(ROOT / ".gitignore", path)
    # What must not get into a wheel, although it lies in the package.
    (path / "scmm_oci" / "left.pyc").touch()
    return path


def build(kind: str, root: Path, target: Path) -> Path:
    """Build a `wheel` or `sdist` of the source at `root`, without network, into the new directory `target`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel") / "dist")


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_has_all_that_is_needed(wheel: Path) -> None:
    inside = names(wheel)
    assert inside >= {f"scmm_oci/data/{name}.{machine}.bpf.o" for name in ("recorder", "watch") for machine in MACHINES}
    assert inside >= {f"scmm_oci/data/{name}" for name in LAUNCHERS}
    assert inside >= {f"scmm_oci/schemas/{path.name}" for path in (ROOT / "schemas").iterdir()}
    assert inside >= {f"scmm_oci/hooks/{path.name}" for path in (ROOT / "hooks").iterdir()}
    assert inside >= {f"scmm_oci/tables/data/{path.name}" for path in (ROOT / "scmm_oci/tables/data").iterdir()}
    assert {"scmm_oci/py.typed", "scmm_oci/recorder/hook.py"} <= inside
    licences = {name.rpartition("/")[2] for name in inside if "/licenses/" in name}
    assert licences == {"LICENSE", "LICENSE-MIT", "LICENSE-APACHE"}


# Starters' texts, and what engines' configurations are to have.
HOOKS = ("/scmm-hook.in", "/scmm-runc.in", "/containers.conf", "/containerd-2.toml", "/containerd-3.toml")


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert tops == {"scmm_oci", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    allowed = (".py", ".json", ".bpf.o", ".css", ".js", "/py.typed", *HOOKS, *LAUNCHERS)
    assert [name for name in names(wheel) if name.startswith("scmm_oci/") and not name.endswith(allowed)] == []
    assert not any(part in name for name in names(wheel) for part in ("test", "rig/", "__pycache__"))


def test_launchers_in_the_wheel_are_executable(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modes = {one.filename: one.external_attr >> 16 & 0o777 for one in archive.infolist()}
    assert [modes[f"scmm_oci/data/{name}"] for name in LAUNCHERS] == [0o755, 0o755]
    assert modes["scmm_oci/data/recorder.x86_64.bpf.o"] == 0o644


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        (commands,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "scmm-hook = scmm_oci.recorder.hook:main" in archive.read(commands).decode()
        assert "scmm-enforce = scmm_oci.cli.main:enforce" in archive.read(commands).decode()
    assert "License-Expression: MIT OR Apache-2.0" in text
    assert wheel.name.endswith("-py3-none-any.whl"), "one wheel serves every machine: its objects are for all of them"


def test_a_wheel_is_the_same_from_a_source_archive(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    archive = build("sdist", checkout, tmp_path / "sdist")
    with tarfile.open(archive) as packed:
        # Python 3.11.4 and later want to know what the archive may do; 3.11.2 (Debian 12) cannot be told.
        packed.extractall(tmp_path / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (source,) = (tmp_path / "unpacked").iterdir()
    again = build("wheel", source, tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        differ = [name for name in one.namelist() if one.read(name) != other.read(name)]
    assert differ == []


def test_the_package_works_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from scmm_oci.recorder import installation, pins\n"
        "from scmm_oci.schema import problems\n"
        "assert installation.__file__.startswith(sys.argv[1]), installation.__file__\n"
        "print(pins.OBJECT, installation.origin().templates, len(problems({}, 'policy')), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    built, templates, found = done.stdout.split()
    assert Path(templates) == tmp_path / "scmm_oci" / "hooks"
    assert found == "1"
    if os.uname().machine in MACHINES:
        assert Path(built).is_file() and tmp_path in Path(built).parents
