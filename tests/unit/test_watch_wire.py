"""bpf/watch.h and scmm_oci/watch/wire.py are one layout, and what alerts hold is read as it is meant."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest
from test_wire import BPF, places, probe, uncommented

from scmm_oci.kernel import prepared
from scmm_oci.recorder import wire as recorder
from scmm_oci.tables import states, syscalls
from scmm_oci.watch import machine, pins, plans, wire

HEADER = (BPF / "watch.h").read_text()
SOURCE = "".join((BPF / name).read_text() for name in ("watch.bpf.c", "watch_threads.bpf.h", "watch_alerts.bpf.h"))

STRUCTS = {
    "scmm_live": wire.LIVE,
    "scmm_watch": wire.WATCH,
    "scmm_watch_plan": wire.PLAN,
    "scmm_alert": wire.ALERT,
    "scmm_watch_config": wire.CONFIG,
    "scmm_watch_state": wire.STATE,
}
IN_PARTS = {
    "scmm_machine": (wire.MACHINE_HEAD, [wire.MACHINE_WORDS * 8], wire.MACHINE_SIZE),
    "scmm_deep": (wire.DEEP_HEAD, [wire.MACHINE_WORDS * 8, wire.TRIPLES * 4], wire.DEEP_SIZE),
}
KERNEL_ONLY = {"scmm_watched", "scmm_interrupted", "scmm_member", "scmm_stranger"}
KINDS = ("SCMM_EDGE", "SCMM_NOT_IN_HANDLER", "SCMM_ABI_WITHOUT_MACHINE", "SCMM_MOVED_OUT")
NUMBERS = {
    "SCMM_WATCHES": wire.SLOTS,
    "SCMM_MACHINES": wire.MACHINES,
    "SCMM_DEEPS": wire.DEEPS,
    "SCMM_WATCH_PHASES": len(wire.PHASES),
    "SCMM_WATCH_ALERTS": wire.ALERTS,
    "SCMM_WATCH_RATE": wire.RATE,
    "SCMM_WATCH_PLACES": wire.PLACES,
    "SCMM_WATCH_RECENT": wire.RECENT,
    "SCMM_WATCH_HANDLERS": wire.HANDLERS,
    "SCMM_WATCH_NAME": wire.NAME,
    "SCMM_WATCH_PATH": wire.PATH,
    "SCMM_STATE_WORDS": wire.STATE_WORDS,
    "SCMM_MACHINE_WORDS": wire.MACHINE_WORDS,
    "SCMM_TRIPLE_SLOTS": wire.TRIPLES,
    "SCMM_TRIPLE_PROBES": wire.TRIPLE_PROBES,
    **{f"SCMM_WATCH_{word.upper()}": index for index, word in enumerate(wire.ACTIONS)},
    "SCMM_WATCH_ATTACHED": wire.ATTACHED,
    **{f"SCMM_{word.upper()}": index for index, word in enumerate(wire.PHASES)},
    "SCMM_WATCH_COUNTERS": len(wire.COUNTERS),
    "SCMM_WATCH_SIGRETURN": wire.PLAN_SIGRETURN,
    "SCMM_WATCH_RESTART": wire.PLAN_RESTART,
    "SCMM_WATCH_SOCKETCALL": wire.PLAN_SOCKETCALL,
    **dict(
        zip(("SCMM_EDGE", "SCMM_NOT_IN_HANDLER", "SCMM_ABI_WITHOUT_MACHINE", "SCMM_MOVED_OUT"), wire.KINDS, strict=True)
    ),
    **{
        name: wire.DONE.index(word)
        for name, word in {
            "SCMM_DID_NOTHING": "none",
            "SCMM_DID_FREEZE": "freeze",
            "SCMM_DID_KILL": "kill",
            "SCMM_DID_FAIL": "failed",
        }.items()
    },
    **{
        name: wire.COUNTERS.index(word)
        for name, word in {
            "SCMM_VIOLATIONS": "violations",
            "SCMM_ALERTED": "alerts",
            "SCMM_KILLS": "kills",
            "SCMM_FREEZES": "freezes",
            "SCMM_FAILED": "failed",
            "SCMM_UNREPORTED": "unreported",
            "SCMM_NO_HANDLER": "no_handler",
            "SCMM_NO_MACHINE": "no_machine",
            "SCMM_LEFT": "left",
            "SCMM_UNWATCHED": "lost_threads",
            "SCMM_UNWATCHED_CGROUPS": "lost_cgroups",
            "SCMM_LOST_HANDLERS": "lost_handlers",
            "SCMM_NO_CALLS": "bad_numbers",
            "SCMM_ENTERED": "entered",
            "SCMM_SERVE": "serving",
        }.items()
    },
}
C_ONLY = {"SCMM_STARTUP", "SCMM_IN_SETUP", "SCMM_FIRST", "SCMM_PAST_UNKNOWN", "SCMM_HERE"}


def probed(header: str, directory: Path) -> dict[str, Any]:
    """What the compiler makes of it: the headers that it includes are beside it."""
    for name in ("states.h", "recorder.h"):
        (directory / "beside").mkdir(exist_ok=True)
        (directory / "beside" / name).write_text((BPF / name).read_text())
    # The helper writes the header under the recorder's name, so that is not what this one may include.
    text = re.sub(r'#include "(\w+\.h)"', rf'#include "{directory}/beside/\1"', header)
    return probe(text, directory)


def differences(found: dict[str, Any]) -> list[str]:
    numbers, structs = dict(found["numbers"]), found["structs"]
    result = [
        f"{name} is {found['numbers'].get(name)} in C, {value} in Python"
        for name, value in NUMBERS.items()
        if numbers.pop(name, None) != value
    ]
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
        here = [(offset, size) for field, offset, size in structs[name]["fields"] if field != "pad"]
        there = [place for place in places(layout) if place not in padded(layout)]
        if name in ("scmm_watch_config", "scmm_watch_state"):
            here = [(offset, size) for _, offset, size in structs[name]["fields"]]
        if here != there or structs[name]["size"] != layout.size:
            result.append(f"{name} is {structs[name]} in C, {layout.format} in Python")
    for name, (head, rest, size) in IN_PARTS.items():
        offset, parts = head.size, []
        for length in rest:
            parts.append((offset, length))
            offset += length
        here = [(offset, length) for _, offset, length in structs[name]["fields"]]
        if here != [*places(head), *parts] or structs[name]["size"] != size:
            result.append(f"{name} is {structs[name]} in C, {head.format} and {rest} in Python")
    return result + [f"{name} is not known in Python" for name in structs.keys() - {*STRUCTS, *IN_PARTS, *KERNEL_ONLY}]


def padded(layout: struct.Struct) -> list[tuple[int, int]]:
    """Where a format has bytes that count for nothing."""
    result, offset = [], 0
    for count, code in re.findall(r"(\d*)([A-Za-z])", layout.format.lstrip("=")):
        size = struct.calcsize("=" + code) * int(count or 1)
        if code == "x":
            result.append((offset, size))
        offset += size
    return result


def test_python_and_c_agree(tmp_path: Path) -> None:
    assert differences(probed(HEADER, tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("__u32 mntns;", "__u32 mntns;\n\t__u32 more;", "scmm_watch"),
        ("__u16 path_length;", "__u32 path_length;", "scmm_alert"),
        ("#define SCMM_MACHINES 128", "#define SCMM_MACHINES 64", "SCMM_MACHINES is 64 in C"),
        ("SCMM_KILLS = 2", "SCMM_KILLS = 3", "SCMM_KILLS is 3 in C, 2"),
        ("#endif", "struct scmm_more {\n\t__u32 one;\n};\n#endif", "scmm_more is not known"),
    ],
)
def test_changes_of_the_header_are_found(old: str, new: str, difference: str, tmp_path: Path) -> None:
    assert HEADER.count(old) >= 1
    assert difference in " ".join(differences(probed(HEADER.replace(old, new, 1), tmp_path)))


def test_fields_stand_in_the_order_that_python_unpacks(tmp_path: Path) -> None:
    found = {
        name: [field for field, _, _ in each["fields"]] for name, each in probed(HEADER, tmp_path)["structs"].items()
    }
    assert found["scmm_watch"] == [
        *("epoch", "mntns", "init", "flags", "action", "cgroups", "threads", "in_second", "machines"),
        *("launcher_dev", "launcher_ino", "alerts", "second", "counters", "name"),
    ]
    assert found["scmm_alert"] == [
        *("seq", "at", "leader_started", "ip", "args", "epoch", "watch", "tgid", "tid", "ns_tgid", "made", "from2"),
        *("from", "to", "path_length", "kind", "action", "phase", "abi", "path_whole", "recent_at", "pad", "recent"),
        *("comm", "path", "again"),
    ]
    assert found["scmm_live"] == ["epoch", "frozen", "started"]
    assert found["scmm_machine"] == ["deep", "switching", "switches", "bits"]
    assert found["scmm_deep"] == ["multiplier", "pad", "pairs", "triples"]
    assert found["scmm_watch_plan"] == ["refined", "bits", "extra"]
    assert found["scmm_watch_config"] == ["v1_controller", "v1_hierarchy", "generation", "pad", "hot"]


def test_every_map_that_is_pinned_is_in_the_object() -> None:
    found = re.findall(r"\} (\w+) SEC\(\"\.maps\"\)|SEC\(\"(\.data\.\w+)\"\)", uncommented(SOURCE))
    names = {map_name or section for map_name, section in found}
    # Of use to the programs alone, or written once, when they are loaded.
    assert set(pins.MAPS) == names - {"strangers", "scratches", ".data.state", ".data.plans"}


def test_states_and_abis_are_the_recorder_s_and_the_table_s() -> None:
    assert wire.STATES == states.STATES == recorder.NR_MAX
    assert wire.ARCHES == recorder.ARCHES and len(wire.ABIS) == len(recorder.ABIS)
    assert wire.ANY not in states.NUMBERS.values()
    assert f'char LICENSE[] SEC("license") = "{prepared.LICENSE}";' in SOURCE


def test_hashes_have_as_many_values_as_there_are_places() -> None:
    shifts = {int(found) for found in re.findall(r"(?:0x9e3779b1U|->multiplier) >> (\d+);", uncommented(SOURCE))}
    assert shifts == {machine._SHIFT}
    assert 1 << (32 - machine._SHIFT) == wire.TRIPLES == wire.PLACES


def test_plans_say_what_the_tables_say() -> None:
    table = plans.plans("x86_64")
    assert len(table) == wire.PLAN.size * wire.STATES * len(wire.ABIS)

    def plan(abi: int, nr: int) -> tuple[int, ...]:
        return wire.PLAN.unpack_from(table, wire.PLAN.size * (abi * wire.STATES + nr))

    assert plan(0, 110) == (0, 0, 0)
    assert plan(0, 15)[1] == plan(1, 119)[1] == plan(1, 173)[1] == plan(2, 513)[1] == wire.PLAN_SIGRETURN
    assert plan(0, 219)[1] == plan(1, 0)[1] == wire.PLAN_RESTART
    assert plan(1, 102)[1] == wire.PLAN_SOCKETCALL and plan(0, 102)[1] == 0
    # openat: by access, in argument 2; i386's mmap has its arguments in memory.
    assert plan(0, 257) == (1 | 2 << 2, 0, states.NUMBERS["openat:write"])
    assert plan(1, 90)[0] & recorder.REFINED_MEMORY and not plan(1, 192)[0] & recorder.REFINED_MEMORY
    for arch in ("x86_64", "x86"):
        known = syscalls.numbers(arch)
        refined = {nr for nr in range(states.FIRST) if plan(("x86_64", "x86").index(arch), nr)[0]}
        assert refined == {known[name] for name in states.REFINED if name in known}


def alert(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        **dict.fromkeys(("at", "leader_started", "ip", "epoch", "watch", "tgid", "tid", "ns_tgid"), 0),
        "seq": 5,
        "again": 5,
        "made": 0,
        "from2": wire.NONE,
        "from": 1,
        "to": 2,
        "path": b"",
        "kind": 1,
        "action": 0,
        "phase": 0,
        "abi": 0,
        "whole": 1,
        "at_recent": 0,
        "recent": [0] * wire.RECENT,
        "comm": b"x",
        "args": [0] * 6,
        **changes,
    }
    return wire.ALERT.pack(
        *(values["seq"], values["at"], values["leader_started"], values["ip"], *values["args"]),
        *(values["epoch"], values["watch"], values["tgid"], values["tid"], values["ns_tgid"], values["made"]),
        *(values["from2"], values["from"], values["to"], len(values["path"]), values["kind"], values["action"]),
        *(values["phase"], values["abi"], values["whole"], values["at_recent"], *values["recent"]),
        *(values["comm"], values["path"], values["again"]),
    )


def test_alerts_are_read() -> None:
    recent = [*range(100, 103), *[0] * 13]
    found = wire.Alert(
        alert(recent=recent, made=3, at_recent=3, path=b"nginx/sbin/usr/", comm=b"ng\xffinx\0y", phase=1)
    )
    assert (found.before, found.state, found.to, found.recent) == (None, 1, 2, (100, 101, 102))
    assert (found.path, found.comm, found.serving, found.kind) == ("/usr/sbin/nginx", "ng\\xffinx", True, "edge")
    recent = list(range(100, 116))
    assert wire.Alert(alert(recent=recent, made=40, at_recent=8)).recent == (*range(108, 116), *range(100, 108))
    # One that was written over while it was read is none.
    assert wire.Alert(alert(again=21)).seq == 0


@pytest.mark.parametrize(
    ("data", "whole", "path"),
    [
        (b"sh/bin/", True, "/bin/sh"),
        (b"", True, "/"),
        (b"", False, None),
        (b"memfd:x/", False, "…/memfd:x"),
        (b"sh/bin/a-name-that-is-cut", False, "…/bin/sh"),
        (b"\xffn/\n/", True, "/\n/\\xffn"),
    ],
)
def test_paths_of_components(data: bytes, whole: bool, path: str | None) -> None:
    assert wire.path_of(data, whole=whole) == path


def test_names_are_cut_between_characters() -> None:
    assert wire.cut("aé".encode(), 2) == b"a"
    assert wire.cut("aé".encode(), 3) == "aé".encode()
    value = wire.new_watch(
        epoch=1, mntns=0, attached=True, action="kill", machines=[0] * 6, launcher=(0, 0), name="é" * 64
    )
    found = wire.WatchValue(value, wire.LIVE.pack(0, 0, 0))
    assert (found.name, found.ended, found.epoch, found.action, found.attached) == ("é" * 31, 1, 0, "kill", True)
