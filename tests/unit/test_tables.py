import ctypes
import ctypes.util
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scmm_oci.errors import BadInput
from scmm_oci.tables import errnos, floor, syscalls, vocabulary
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.tables.probes import OLDER, probes

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_what_the_pinned_source_gives():
    path = ROOT / "tools" / "make_tables.py"
    spec = importlib.util.spec_from_file_location("make_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = module.tables()
    assert sorted(files) == sorted(path.name for path in module.DATA.glob("syscalls.*.json"))
    for name, content in files.items():
        assert (module.DATA / name).read_text() == content, f"{name} is stale: make tables"


@pytest.mark.parametrize("arch", syscalls.ARCHES)
def test_numbers_and_names_are_inverse(arch):
    table = syscalls.numbers(arch)
    assert len(set(table.values())) == len(table) > 300
    for name in table:
        assert syscalls.name_of(arch, syscalls.number_of(arch, name)) == name
    assert syscalls.name_of(arch, 999_999) is None
    assert syscalls.number_of(arch, "no_such_call") is None


def test_known_numbers():
    # From the kernel's uapi headers: <asm/unistd_64.h>, <asm/unistd_32.h>, <asm/unistd_x32.h>, <asm-generic/unistd.h>.
    assert [syscalls.number_of(arch, "execve") for arch in ("x86_64", "x86", "x32", "aarch64")] == [
        59,
        11,
        0x40000000 + 520,
        221,
    ]
    assert syscalls.name_of("x32", 520) == syscalls.name_of("x32", 0x40000000 + 520) == "execve"
    assert syscalls.name_of("x86_64", 0x40000000) is None
    assert syscalls.name_of("x86_64", 156) == "_sysctl"


@pytest.mark.parametrize("arch", list(Arch))
def test_libseccomp_has_the_same_names(arch):
    library = ctypes.util.find_library("seccomp")
    if library is None:
        message = "libseccomp is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    lib = ctypes.CDLL(library)
    lib.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    lib.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    token = lib.seccomp_arch_resolve_name(str(arch).encode())
    bit = syscalls.X32_SYSCALL_BIT if arch is Arch.X32 else 0
    checked = 0
    for number in range(600):
        answer = lib.seccomp_syscall_resolve_num_arch(ctypes.c_uint32(token), number | bit)
        if answer:
            name = ctypes.string_at(answer).decode()
            # One number with two names; libseccomp has the older.
            name = {"arm_sync_file_range": "sync_file_range2"}.get(name, name)
            assert syscalls.name_of(arch, number) == name
            checked += 1
    assert checked > 300


def test_an_unknown_architecture_is_bad_input():
    with pytest.raises(BadInput, match=r"'x86-64' is not an architecture.*did you mean 'x86_64'"):
        syscalls.numbers("x86-64")


def test_arches_are_the_same_everywhere():
    assert tuple(Arch) == syscalls.ARCHES
    assert Arch.X86_64.beside == (Arch.X86, Arch.X32)
    assert Arch.PPC64LE.scmp == "SCMP_ARCH_PPC64LE"
    assert Arch.AARCH64.audit == 0xC00000B7
    assert Arch.X32.audit == Arch.X86_64.audit
    assert all(other.beside == () for arch in Arch for other in arch.beside)


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", "x86_64"), ("i686", "x86"), ("armv7l", "arm"), ("aarch64", "aarch64"), ("amd64", "x86_64")],
)
def test_machines(machine, arch):
    assert from_machine(machine) == arch


def test_an_unknown_machine_is_bad_input():
    with pytest.raises(BadInput, match=r"\.host\.machine: 'x86-64'.*did you mean 'x86_64'"):
        from_machine("x86-64", place=".host.machine")


def test_the_table_module_costs_a_hook_little():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from scmm_oci.tables import syscalls\n"
        "import scmm_oci.files\n"
        "assert syscalls.name_of('x86_64', 0) == 'read'\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('scmm_oci')))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    dear = {"typing", "dataclasses", "enum", "re", "inspect", "pathlib", "importlib.resources"}
    assert not dear & set(run.stdout.split())


def test_floor_names_are_system_calls():
    for entry in floor.entries():
        assert entry.names <= set(syscalls.all_names()), entry.id
        assert entry.source
    ids = [entry.id for entry in floor.entries()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("runtime", floor.runtimes())
@pytest.mark.parametrize("version", [None, "1.1.5", "1.8.1", "9"])
def test_the_floor_without_no_new_privileges_serves_with_it_too(runtime, version):
    small = floor.floor(runtime, version, True).names
    large = floor.floor(runtime, version, False).names
    assert small < large
    assert large <= floor.floor(runtime, version, None).names <= floor.floor(None, None, None).names


def test_floor_by_version_and_verb():
    old, new = floor.floor("runc", "1.1.5+ds1", False), floor.floor("runc", "1.2.0-rc.1", False)
    assert "openat2" not in old.names
    assert "openat2" in new.names
    assert new.entries_used == ("any-program", "runc-start", "runc-exec", "runc-1.2", "go-runtime")
    assert floor.floor("runc", "v1.2", False) == new
    assert "openat2" in floor.floor("runc", "unknown", False).names
    run = floor.floor("crun", "1.8.1", False, verbs=frozenset({floor.Verb.RUN}))
    assert run.entries_used == ("any-program", "crun-run")
    assert "pselect6" not in run.names
    assert "pselect6" in floor.floor("crun", "1.8.1", False).names


def test_an_unknown_runtime_gets_every_floor_and_a_finding():
    unknown = floor.floor("youki", "0.3", False)
    assert unknown.names == floor.floor(None, None, False).names
    assert [finding.code for finding in unknown.findings] == ["unknown-runtime"]
    assert floor.floor(None, None, False).findings == ()


def test_recorded_names_join_the_floor():
    base = floor.floor("crun", "1.8.1", True)
    assert base.with_recorded({"close"}) is base
    more = base.with_recorded({"close", "sysinfo"})
    assert more.names == base.names | {"sysinfo"}
    assert more.entries_used == (*base.entries_used, "recorded")


def test_probes():
    assert {"clone3", "openat2", "faccessat2", "statx", "close_range", "rseq", "clock_gettime64"} <= probes()
    assert not {"clone", "open", "read", "execve", "mount", "bpf"} & probes()
    assert set(OLDER) <= probes() <= set(syscalls.all_names())


def test_error_numbers():
    assert (errnos.number("EPERM"), errnos.number("ENOSYS"), errnos.number("ENOTSUP")) == (1, 38, 95)
    assert errnos.number("EPREM") is None
    assert [errnos.number(word) for word in ("1", "524", "4095", "E524", "E41")] == [1, 524, 4095, 524, 41]
    for word in (
        "",
        "E",
        "0",
        "00",
        "01",
        "E0",
        "-1",
        "+1",
        " 1",
        "1\n",
        "4096",
        "99999",
        "1.0",
        "٣",
        "²",
        "EFOO",
        "EE1",
    ):
        assert errnos.number(word) is None, word
    assert str(errnos.unknown(".x", "EFOO")) == (
        ".x: 'EFOO' is not an error name (a name such as EPERM, or a number from 1 to 4095)"
    )
    assert str(errnos.unknown(".x", "eperm")) == ".x: 'eperm' is not an error name (did you mean 'EPERM'?)"
    assert len(set(errnos.ERRNOS.values())) == len(errnos.ERRNOS)


def test_vocabulary():
    assert vocabulary.capability("NET_ADMIN") == vocabulary.capability("CAP_NET_ADMIN") == "CAP_NET_ADMIN"
    assert vocabulary.capability("CAP_CAP_NET_ADMIN") is None
    # include/uapi/linux/capability.h ends at CAP_CHECKPOINT_RESTORE, 40.
    assert len(set(vocabulary.CAPABILITIES)) == 41
    assert len(set(vocabulary.FLAGS)) == len(vocabulary.FLAGS)
