"""bpf/recorder.h and scmm_oci/recorder/wire.py are one layout: a C program that includes the header says so."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scmm_oci.kernel import prepared
from scmm_oci.kernel.cgroup import V1_CONTROLLERS
from scmm_oci.recorder import drain, pins, wire

BPF = Path(__file__).resolve().parents[2] / "bpf"
HEADER = (BPF / "recorder.h").read_text()
SOURCE = (BPF / "recorder.bpf.c").read_text()

# struct in C → struct in Python; scmm_set is in two parts there, a head and the calls.
STRUCTS = {
    "scmm_cgroup_key": wire.CGROUP_KEY,
    "scmm_target": wire.TARGET,
    "scmm_slot": wire.SLOT,
    "scmm_config": wire.CONFIG,
    "scmm_call": wire.CALL,
}
NUMBERS = {
    "SCMM_NR_MAX": wire.NR_MAX,
    "SCMM_SLOTS": wire.SLOTS,
    "SCMM_SESSIONS": wire.SESSIONS,
    "SCMM_PHASES": len(wire.PHASES),
    "SCMM_ABIS": len(wire.ABIS),
    "SCMM_SETS": wire.SETS,
    "SCMM_SETS_PER_SLOT": wire.SETS_PER_SLOT,
    "SCMM_ERRNO_WORDS": wire.ERRNO_WORDS,
    "SCMM_COUNTERS": len(wire.COUNTERS),
    **{f"SCMM_{name.upper()}": index for index, name in enumerate(wire.PHASES)},
    **{f"SCMM_{name.upper()}": index for index, name in enumerate(wire.ABIS)},
}
COUNTERS = {
    "lost-cgroups": "SCMM_LOST_CGROUPS",
    "lost-threads": "SCMM_LOST_THREADS",
    "lost-calls": "SCMM_LOST_CALLS",
    "left-cgroup": "SCMM_LEFT_CGROUP",
    "bad-numbers": "SCMM_BAD_NUMBER",
    "sessions-shared": "SCMM_SESSIONS_SHARED",
}
# Defined by the header, of no use to Python.
C_ONLY = {"SCMM_CGROUPS", "SCMM_CGROUPS_PER_SLOT", "SCMM_ERRNO_MAX"}


def uncommented(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def probe(header: str, directory: Path) -> dict[str, Any]:
    """What a C compiler makes of the header: `numbers` by name; for each of `structs` its size and its fields."""
    text = uncommented(header)
    structs = {
        name: re.findall(r"(\w+)(?:\[[^]]*\])?;", body)
        for name, body in re.findall(r"struct (scmm_\w+) \{(.*?)\n\};", text, re.DOTALL)
    }
    numbers = re.findall(r"#define (SCMM_\w+) +\S", text)
    numbers += [
        name for body in re.findall(r"enum \w+ \{(.*?)\};", text, re.DOTALL) for name in re.findall(r"SCMM_\w+", body)
    ]
    lines = [f'printf("n {name} %llu\\n", (unsigned long long){name});' for name in numbers]
    for name, fields in structs.items():
        lines.append(f'printf("s {name} %zu\\n", sizeof(struct {name}));')
        lines += [
            f'printf("f {name} {field} %zu %zu\\n", offsetof(struct {name}, {field}),'
            f" sizeof(((struct {name} *)0)->{field}));"
            for field in fields
        ]
    (directory / "recorder.h").write_text(header)
    program = directory / "probe.c"
    program.write_text(
        "#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        '#include "recorder.h"\nint main(void)\n{\n' + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    binary = directory / "probe"
    subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", binary, program], check=True)
    found: dict[str, Any] = {"numbers": {}, "structs": {name: {"fields": []} for name in structs}}
    for line in subprocess.run([binary], check=True, capture_output=True, text=True).stdout.splitlines():
        match line.split():
            case ["n", name, value]:
                found["numbers"][name] = int(value)
            case ["s", name, size]:
                found["structs"][name]["size"] = int(size)
            case ["f", name, field, offset, size]:
                found["structs"][name]["fields"].append((field, int(offset), int(size)))
    return found


def places(layout: struct.Struct) -> list[tuple[int, int]]:
    """(offset, size) of each field of a format. "II" are two fields; "2I" is one, an array."""
    result, offset = [], 0
    for count, code in re.findall(r"(\d*)([A-Za-z])", layout.format.lstrip("=")):
        size = struct.calcsize("=" + code) * int(count or 1)
        result.append((offset, size))
        offset += size
    return result


def differences(found: dict[str, Any]) -> list[str]:
    """Where Python and C do not agree, in words."""
    numbers, structs = dict(found["numbers"]), found["structs"]
    result = []
    for name, value in {**NUMBERS, **{COUNTERS[name]: index for index, name in enumerate(wire.COUNTERS)}}.items():
        if numbers.pop(name, None) != value:
            result.append(f"{name} is {found['numbers'].get(name)} in C, {value} in Python")
    result += [f"{name} is not known in Python" for name in numbers.keys() - C_ONLY]
    for name, in_c in structs.items():
        ends = 0
        for field, offset, size in in_c["fields"]:
            if offset != ends:
                result.append(f"{name} has hidden padding before {field}")
            ends = offset + size
        if ends != in_c["size"]:
            result.append(f"{name} has hidden padding at its end")
    for name, layout in STRUCTS.items():
        here = [(offset, size) for _, offset, size in structs[name]["fields"]]
        if here != places(layout) or structs[name]["size"] != layout.size:
            result.append(f"{name} is {structs[name]} in C, {layout.format} in Python")
    calls = (wire.SET_HEAD.size, wire.NR_MAX * wire.CALL.size)
    here = [(offset, size) for _, offset, size in structs["scmm_set"]["fields"]]
    if here != [*places(wire.SET_HEAD), calls] or structs["scmm_set"]["size"] != wire.SET_SIZE:
        result.append(f"scmm_set is {structs['scmm_set']} in C, {wire.SET_HEAD.format} and calls in Python")
    return result + [f"{name} is not known in Python" for name in structs.keys() - STRUCTS.keys() - {"scmm_set"}]


def test_python_and_c_agree(tmp_path: Path) -> None:
    assert differences(probe(HEADER, tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("__u32 mntns;", "__u32 mntns;\n\t__u32 more;", "scmm_slot is"),
        ("__u32 slot;", "__u64 slot;", "scmm_target"),
        ("__u16 session;\n\t__u8 phase;", "__u8 phase;\n\t__u16 session;", "hidden padding before session"),
        ("__u64 entered;", "__u32 entered;", "hidden padding before succeeded"),
        ("#define SCMM_NR_MAX 576", "#define SCMM_NR_MAX 577", "SCMM_NR_MAX is 577 in C"),
        ("SCMM_LOST_CGROUPS = 0", "SCMM_LOST_CGROUPS = 1", "SCMM_LOST_CGROUPS is 1 in C, 0"),
        ("SCMM_X32 = 2,", "SCMM_X32 = 2, SCMM_OTHER = 3,", "SCMM_OTHER is not known"),
        ("#endif", "struct scmm_more {\n\t__u32 one;\n};\n#endif", "scmm_more is not known"),
    ],
)
def test_changes_of_the_header_are_found(old: str, new: str, difference: str, tmp_path: Path) -> None:
    assert HEADER.count(old) >= 1
    assert difference in " ".join(differences(probe(HEADER.replace(old, new, 1), tmp_path)))


def test_fields_stand_in_the_order_that_python_unpacks(tmp_path: Path) -> None:
    fields = {
        name: [field for field, _, _ in each["fields"]] for name, each in probe(HEADER, tmp_path)["structs"].items()
    }
    assert fields == {
        "scmm_cgroup_key": ["id", "hierarchy", "pad"],
        "scmm_target": ["slot", "epoch"],
        "scmm_slot": ["epoch", "mntns", "sessions", "sets", "init", "cgroups", "counters", "set_of"],
        "scmm_config": ["v1_controller", "v1_hierarchy", "sets", "fresh"],
        "scmm_call": ["entered", "succeeded", "errnos", "denied", "denied_errno"],
        "scmm_set": ["epoch", "session", "phase", "abi", "calls"],
    }


def controllers(source: str) -> tuple[str, ...]:
    """The v1 controllers as controller_ssid() numbers them, from 1."""
    body = re.search(r"controller_ssid\(u32 controller\)\n\{(.*?)\n\}", source, re.DOTALL)
    assert body is not None
    cases = re.findall(r"case (\d+):\s*return SSID\((\w+)_cgrp_id\)", body[1])
    assert [int(number) for number, _ in cases] == list(range(1, len(cases) + 1))
    return tuple(name for _, name in cases)


def test_v1_controllers_are_numbered_alike() -> None:
    assert controllers(SOURCE) == V1_CONTROLLERS
    first, second = "memory_cgrp_id);", "pids_cgrp_id);"
    swapped = SOURCE.replace(first, "@").replace(second, first).replace("@", second)
    assert controllers(swapped) != V1_CONTROLLERS


def test_every_map_that_is_pinned_is_in_the_object() -> None:
    text = uncommented(SOURCE)
    sections = set(re.findall(r"\} (\w+) SEC\(\"\.maps\"\)|SEC\(\"(\.data\.\w+)\"\)", text))
    names = {map_name or section for map_name, section in sections}
    # What the recorder knows of threads and processes stays in the kernel.
    assert set(pins.MAPS) == names - {"threads", "processes"}


def test_the_licence_told_to_the_kernel_is_the_source_s() -> None:
    assert f'char LICENSE[] SEC("license") = "{prepared.LICENSE}";' in SOURCE


def test_every_counter_and_abi_has_its_meaning() -> None:
    assert set(wire.COUNTERS) <= drain.DETAILS.keys()
    assert set(drain.NOTES) <= set(wire.COUNTERS)
    assert all(len(arches) == len(wire.ABIS) for arches in drain.ARCHES.values())


def test_sizes_of_a_set_and_of_the_pool_are_what_the_comments_say() -> None:
    assert wire.SET_SIZE // 1024 == 27
    assert round(wire.SETS * wire.SET_SIZE / (1 << 20)) == 7


def test_errno_words_name_each_errno_once() -> None:
    assert wire.errnos_of((1 << 1 | 1 << 63, 1, 1 << 5)) == [1, 63, 64, 133]
    assert wire.errnos_of((0, 0, 0)) == []
