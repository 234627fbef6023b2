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
from scmm_oci.recorder import drain, pins, plans, wire
from scmm_oci.recorder.facts import errno_name
from scmm_oci.tables import arguments, errnos, operations, states, syscalls

BPF = Path(__file__).resolve().parents[2] / "bpf"
STATES_HEADER = (BPF / "states.h").read_text()
HEADER = STATES_HEADER + (BPF / "recorder.h").read_text().replace('#include "states.h"\n', "")
# The watch's own files have a test of their own.
SOURCE = "".join(path.read_text() for path in sorted(BPF.glob("*.bpf.[ch]")) if not path.name.startswith("watch"))

# struct in C → struct in Python; scmm_set and scmm_edges are in two parts there, a head and an array.
STRUCTS = {
    "scmm_cgroup_key": wire.CGROUP_KEY,
    "scmm_target": wire.TARGET,
    "scmm_slot": wire.SLOT,
    "scmm_config": wire.CONFIG,
    "scmm_state": wire.STATE,
    "scmm_call": wire.CALL,
    "scmm_seat": wire.SEAT,
    "scmm_plan": wire.PLAN,
    "scmm_fact_key": wire.FACT_KEY,
    "scmm_fact": wire.FACT,
    "scmm_argument_key": wire.ARGUMENT_KEY,
    "scmm_triple_key": wire.TRIPLE_KEY,
}
# Of no use to Python.
KERNEL_ONLY = {"scmm_handler", "scmm_thread", "scmm_last", "scmm_reached"}
IN_PARTS = {
    "scmm_set": (wire.SET_HEAD, wire.NR_MAX * wire.CALL.size, wire.SET_SIZE),
    "scmm_edges": (wire.EDGES_HEAD, wire.EDGE_WORDS * 8, wire.EDGES_SIZE),
}
NUMBERS = {
    "SCMM_NR_MAX": wire.NR_MAX,
    "SCMM_SLOTS": wire.SLOTS,
    "SCMM_SESSIONS": wire.SESSIONS,
    "SCMM_PHASES": len(wire.PHASES),
    "SCMM_ABIS": len(wire.ABIS),
    "SCMM_SETS": wire.SETS,
    "SCMM_SETS_PER_SLOT": wire.SETS_PER_SLOT,
    "SCMM_CGROUPS_PER_SLOT": wire.CGROUPS_PER_SLOT,
    "SCMM_EDGES": wire.EDGES,
    "SCMM_EDGE_WORDS": wire.EDGE_WORDS,
    "SCMM_TRIPLES": wire.TRIPLES,
    "SCMM_TRIPLES_PER_SLOT": wire.TRIPLES_PER_SLOT,
    "SCMM_CALLS": wire.CALLS,
    "SCMM_FROM_ANY": wire.ANY,
    **{f"SCMM_FROM_{word.rpartition(':')[2].upper()}": states.NUMBERS[word] for word in states.BEGINNINGS},
    "SCMM_BY_ACCESS": wire.BY_ACCESS,
    "SCMM_BY_PROTECTION": wire.BY_PROTECTION,
    "SCMM_BY_FAMILY": wire.BY_FAMILY,
    "SCMM_REFINED_KIND": wire.REFINED_KIND,
    "SCMM_REFINED_INDEX": wire.REFINED_INDEX,
    "SCMM_REFINED_MEMORY": wire.REFINED_MEMORY,
    "SCMM_STAGES": len(wire.STAGES),
    **{f"SCMM_{(word or 'stage_unknown').upper()}": index for index, word in enumerate(wire.STAGES)},
    "SCMM_FACTS": wire.FACTS,
    "SCMM_FACTS_MEDIUM": wire.FACTS // 2,
    "SCMM_FACTS_LONG": wire.FACTS // 128,
    "SCMM_ARGUMENTS": wire.FACTS // 2,
    "SCMM_SHORT": wire.SHORT,
    "SCMM_MEDIUM": wire.MEDIUM,
    "SCMM_LONG": wire.LONG,
    "SCMM_VALUES": wire.VALUES,
    "SCMM_PROGRAMS": wire.PROGRAMS,
    "SCMM_HANDLERS": wire.HANDLERS,
    "SCMM_RECENT": wire.RECENT,
    "SCMM_SPECS": wire.SPECS,
    "SCMM_HOT_WORDS": wire.HOT_WORDS,
    "SCMM_ERRNO_WORDS": wire.ERRNO_WORDS,
    "SCMM_COUNTERS": len(wire.COUNTERS),
    "SCMM_ATTACHED": wire.ATTACHED,
    "SCMM_NO_FOLLOW": wire.NO_FOLLOW,
    "SCMM_FOLLOWED": wire.FOLLOWED,
    "SCMM_DEPTH_3": wire.DEPTH_3,
    "SCMM_NEW": wire.NEW,
    "SCMM_DEEP": wire.DEEP,
    "SCMM_THREADS": wire.THREADS,
    "SCMM_PLAN_ARGUMENTS": wire.PLAN_ARGUMENTS,
    "SCMM_PLAN_MEMORY": wire.PLAN_MEMORY,
    "SCMM_PLAN_SIGRETURN": wire.PLAN_SIGRETURN,
    "SCMM_PLAN_RESTART": wire.PLAN_RESTART,
    "SCMM_PLAN_FLAGS_MEMORY": wire.PLAN_FLAGS_MEMORY,
    "SCMM_PLAN_LISTEN": wire.PLAN_LISTEN,
    "SCMM_PLAN_ACCEPT": wire.PLAN_ACCEPT,
    "SCMM_PLAN_SOCKETCALL": wire.PLAN_SOCKETCALL,
    "SCMM_SPEC_WIDE": wire.SPEC_WIDE,
    "SCMM_SPEC_PAIR": wire.SPEC_PAIR,
    "SCMM_SPEC_MEMORY": wire.SPEC_MEMORY,
    "SCMM_SPEC_OFFSET": wire.SPEC_OFFSET,
    "SCMM_NO_ARGUMENT": wire.NO_ARGUMENT,
    "SCMM_FILE": wire.FILE,
    "SCMM_SOCKET": wire.SOCKET,
    "SCMM_PROGRAM": wire.PROGRAM,
    "SCMM_AS_NAMED": wire.AS_NAMED,
    "SCMM_OUTSIDE": wire.OUTSIDE,
    "SCMM_DELETED": wire.DELETED,
    "SCMM_INTERNAL": wire.INTERNAL,
    "SCMM_CREATED": wire.CREATED,
    "SCMM_TOO_DEEP": wire.TOO_DEEP,
    "SCMM_FOREIGN_MOUNTS": wire.FOREIGN_MOUNTS,
    "SCMM_VALUE_COUNT": wire.VALUE_COUNT,
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
    "lost-arguments": "SCMM_LOST_ARGUMENTS",
    "lost-files": "SCMM_LOST_FILES",
    "lost-sockets": "SCMM_LOST_SOCKETS",
    "lost-programs": "SCMM_LOST_PROGRAMS",
    "lost-order": "SCMM_LOST_ORDER",
    "programs-shared": "SCMM_PROGRAMS_SHARED",
    "unfollowed": "SCMM_UNFOLLOWED",
}
# Defined by the header, of no use to Python.
C_ONLY = {
    "SCMM_CGROUPS",
    "SCMM_ERRNO_MAX",
    "SCMM_ARGUMENTS_PER_SLOT",
    "SCMM_NO_CALL",
    "SCMM_UNCOUNTED",
    "SCMM_SPEC_INDEX",
    "SCMM_FROM_NONE",
}


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
    for name, (head, rest, size) in IN_PARTS.items():
        here = [(offset, length) for _, offset, length in structs[name]["fields"]]
        if here != [*places(head), (head.size, rest)] or structs[name]["size"] != size:
            result.append(f"{name} is {structs[name]} in C, {head.format} and {rest} bytes in Python")
    known = {*STRUCTS, *IN_PARTS, *KERNEL_ONLY}
    return result + [f"{name} is not known in Python" for name in structs.keys() - known]


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
        "scmm_slot": [
            *("epoch", "mntns", "sessions", "sets", "init", "cgroups", "flags", "threads", "facts", "arguments"),
            *("programs", "triples", "edges_of", "started", "counters", "set_of"),
        ],
        "scmm_config": [
            *("v1_controller", "v1_hierarchy", "sets", "edges", "facts_per_slot", "threads", "generation", "pad"),
            *("seed", "hot"),
        ],
        "scmm_state": ["fresh", "fresh_edges", "fresh_threads", "generation", "stages", "pad", "hot"],
        "scmm_call": ["entered", "succeeded", "errnos", "denied", "denied_errno", "programs", "first"],
        "scmm_set": ["epoch", "session", "phase", "abi", "calls"],
        "scmm_edges": ["epoch", "abi", "stage", "bits"],
        "scmm_handler": ["stack", "from", "restart", "from_abi", "pad", "from2"],
        "scmm_reached": ["epoch", "stage"],
        "scmm_triple_key": ["epoch", "before", "from", "to", "abi", "stage"],
        "scmm_thread": [
            *(
                "regs",
                "place",
                "slot",
                "epoch",
                "session",
                "set",
                "pending_nr",
                "pending_set",
                "edges",
                "from",
                "from_abi",
            ),
            *("phase", "program", "flags", "depth", "stage", "restart", "restart_code", "missed"),
            *("stages", "from2", "pad", "handlers"),
            *("nsproxy", "top", "root_mount", "root_dentry", "recent"),
        ],
        "scmm_seat": ["index", "slot", "epoch", "phase", "flags", "pad"],
        "scmm_last": ["regs", "index", "generation"],
        "scmm_plan": [
            *(
                "bits",
                "kind",
                "ops",
                "dirfds",
                "names",
                "flags",
                "specs",
                "refined",
                "extra",
                "mask",
                "implied",
                "masks",
            ),
        ],
        "scmm_fact_key": ["a", "b", "epoch", "kind", "op", "size", "pad"],
        "scmm_fact": [
            *("programs", "first", "errnos", "other", "succeeded", "failed", "detail", "info", "name_length"),
            *("base_length", "sessions", "state", "size", "pad", "pad2"),
        ],
        "scmm_argument_key": ["value", "epoch", "nr", "abi", "spec"],
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
    # Written once, when it is loaded, or by the kernel side for itself.
    assert set(pins.MAPS) == names - {
        "processes",
        "scratches",
        "threads",
        "free_threads",
        "lasts",
        "reached",
        ".data.plans",
        ".data.state",
    }


def test_the_licence_told_to_the_kernel_is_the_source_s() -> None:
    assert f'char LICENSE[] SEC("license") = "{prepared.LICENSE}";' in SOURCE


def test_every_counter_and_abi_has_its_meaning() -> None:
    assert set(wire.COUNTERS) <= drain.DETAILS.keys()
    assert set(drain.NOTES) <= set(wire.COUNTERS)
    assert all(len(arches) == len(wire.ABIS) for arches in wire.ARCHES.values())


def test_sizes_of_a_set_and_of_the_pool_are_what_the_comments_say() -> None:
    assert wire.SET_SIZE // 1024 == 36
    assert round(wire.SETS * wire.SET_SIZE / (1 << 20)) == 9
    assert wire.EDGES_SIZE // 1024 == 40


def test_operations_and_kinds_of_the_kernel_side_are_those_of_the_table() -> None:
    text = uncommented(SOURCE)
    for prefix, words in (
        ("OP", operations.OPERATIONS),
        ("KIND", operations.KINDS),
        ("SOCKET", operations.SOCKET_OPERATIONS),
    ):
        found = re.findall(rf"\b{prefix}_([A-Z_]+) = (\d+)", text)
        assert found, prefix
        for name, number in found:
            assert words[int(number)] == name.lower().replace("_", "-"), (prefix, name)


def test_plans_say_what_the_tables_say() -> None:
    table = plans.plans("x86_64")
    assert len(table) == wire.PLAN.size * wire.NR_MAX * len(wire.ABIS)

    def plan(arch: int, nr: int) -> tuple[int, ...]:
        return wire.PLAN.unpack_from(table, wire.PLAN.size * (arch * wire.NR_MAX + nr))

    # openat: flags in argument 2, the name in 1 of the directory in 0.
    bits, kind, op, _, dirfd, _, name, second, flags, spec, *rest = plan(0, 257)
    assert (bits, kind, op) == (wire.PLAN_ARGUMENTS, operations.KIND["open"], operations.CODE["open"])
    assert (dirfd, name, second, flags, spec) == (0, 1, wire.NO_ARGUMENT, 2, 3)
    assert rest[5] == operations.OPEN_MASK
    # Which class it is of, its third argument says; i386's mmap has that in memory; calls without classes have none.
    assert rest[3:5] == [wire.BY_ACCESS | 2 << wire.REFINED_INDEX, states.NUMBERS["openat:write"]]
    assert plan(0, 9)[13:15] == (wire.BY_PROTECTION | 2 << wire.REFINED_INDEX, states.NUMBERS["mmap:exec"])
    assert plan(1, 90)[13:15] == (plan(0, 9)[13] | wire.REFINED_MEMORY, states.NUMBERS["mmap:exec"])
    assert plan(1, 192)[13:15] == (plan(0, 9)[13], states.NUMBERS["mmap2:exec"])
    assert plan(0, 41)[13:15] == (wire.BY_FAMILY, states.NUMBERS["socket:inet"]) and plan(0, 42)[13:15] == (0, 0)
    # What brings a process to another stage: listen, accept, accept4, i386's socketcall.
    bits = [plan(0, nr)[0] & ~7 for nr in (50, 43, 288, 42)]
    assert bits == [wire.PLAN_LISTEN, wire.PLAN_ACCEPT, wire.PLAN_ACCEPT, 0]
    assert plan(1, 102)[0] & ~7 == wire.PLAN_SOCKETCALL
    # renameat2: two names; i386's open; setsockopt: a pair; clone3: in memory; restart_syscall and rt_sigreturn.
    assert plan(0, 316)[2:9] == (operations.CODE["rename-from"], operations.CODE["rename-to"], 0, 2, 1, 3, 4)
    assert plan(1, 5)[:3] == (wire.PLAN_ARGUMENTS, operations.KIND["open"], operations.CODE["open"])
    assert plan(0, 54)[9] == 2 | wire.SPEC_PAIR
    assert plan(0, 435)[0] == wire.PLAN_MEMORY and plan(0, 435)[9] & wire.SPEC_MEMORY
    assert plan(0, 219)[0] == wire.PLAN_RESTART and plan(0, 15)[0] == wire.PLAN_SIGRETURN
    assert plan(1, 119)[0] == plan(1, 173)[0] == wire.PLAN_SIGRETURN
    # fanotify_mark: i386 has its mask of 64 bits in two arguments.
    assert plan(0, 301)[4:7:2] == (3, 4) and plan(1, 339)[4:7:2] == (4, 5)
    # getppid has nothing that is kept.
    assert plan(0, 110)[:2] == (0, 0)


def test_every_file_call_and_operation_has_its_words() -> None:
    assert set(operations.FILE_CALLS) <= syscalls.all_names()
    used = {operation for call in operations.FILE_CALLS.values() for _, _, operation in call.names}
    assert used - {"sendto"} <= set(operations.OPERATIONS)
    assert all(call.kind in operations.KINDS for call in operations.FILE_CALLS.values())
    assert all(
        argument.field is None or (name, argument.field) in plans.FIELDS
        for name in plans_names()
        for argument in arguments.arguments("x86_64")[name]
    )


def plans_names() -> list[str]:
    return sorted(arguments.arguments("x86_64"))


def test_errno_words_name_each_errno_once() -> None:
    assert wire.errnos_of((1 << 1 | 1 << 63, 1, 1 << 5)) == [1, 63, 64, 133]
    assert wire.errnos_of((0, 0, 0)) == []


def test_errors_have_the_names_of_the_tables() -> None:
    assert {errno_name(number): number for number in errnos.ERRNOS.values()} == errnos.ERRNOS
    assert errno_name(524) == "524"
