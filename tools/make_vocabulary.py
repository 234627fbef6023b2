#!/usr/bin/env python3
"""Write scmm_oci/tables/data/vocabulary.json: the names of argument values, from Debian's kernel and C library headers.

tools/vocabulary_sources.py says which names; the C preprocessor finds them and the compiler computes their values, for
x86_64, x86 (-m32) and x32 (-mx32). What the headers of this machine cannot say (newer names, other architectures) is
in tables of that file. Run by ``make tables``; a unit test runs it again and compares.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vocabulary_sources import OTHER_ARCHES, PAIRS, VOCABULARIES, Source

DATA = Path(__file__).resolve().parent.parent / "scmm_oci" / "tables" / "data"
FILE = "vocabulary.json"
ORIGIN = (
    "Debian 12: linux-libc-dev 6.1, libc6-dev 2.36; newer names and other architectures: tools/vocabulary_sources.py"
)
FLAGS = {"x86_64": "-m64", "x86": "-m32", "x32": "-mx32"}
# Debian's asm/ headers serve all three, but gcc looks there for -m64 only.
HEADERS = "/usr/include/x86_64-linux-gnu"
# The C library's headers want these; they come with its 32-bit packages and say nothing about values.
STUBS = ("gnu/stubs-32.h", "gnu/stubs-x32.h")
# Architectures without a compiler here start from the one with the same sizes, and OTHER_ARCHES corrects them.
BASE = {"arm": "x86", "s390": "x86", "aarch64": "x86_64", "riscv64": "x86_64", "s390x": "x86_64", "ppc64le": "x86_64"}


def _includes(headers: Iterable[str]) -> str:
    lines = [f"#include <{header}>\n" for header in headers]
    return "#define _GNU_SOURCE 1\n#include <stddef.h>\n" + "".join(lines)


def _gcc(*arguments: str, text: str, arch: str, stubs: str) -> subprocess.CompletedProcess[str]:
    command = ["gcc", FLAGS[arch], f"-I{stubs}", "-idirafter", HEADERS, "-w", "-x", "c", *arguments, "-"]
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)


def candidates(source: Source, arch: str, stubs: str) -> dict[str, str]:
    """Name → definition of every macro without parameters, and of every enumerator (empty).

    Where the source names enums: the enumerators of these only, in their order, and no macros.
    """
    found: dict[str, str] = {}
    text = _includes(source.headers)
    if not source.enums:
        macros = _gcc("-E", "-P", "-dM", text=text, arch=arch, stubs=stubs)
        macros.check_returncode()
        for line in macros.stdout.splitlines():
            match = re.match(r"#define (\w+) (.+)", line)
            if match:
                found[match[1]] = match[2]
    plain = _gcc("-E", "-P", text=text, arch=arch, stubs=stubs)
    for tag, body in re.findall(r"\benum\s*(\w*)\s*{([^}]*)}", plain.stdout):
        if not source.enums or tag in source.enums:
            for name in re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\([^()]*\)", "", body)):
                found.setdefault(name, "")
    return found


def choose(source: Source, found: Mapping[str, str]) -> list[str]:
    """The names that a source takes of those found, the more usual first."""
    names: list[str] = []
    for pattern in source.take or ("*",):
        matching = [name for name in found if fnmatchcase(name, pattern)]
        for name in matching if source.enums else sorted(matching):
            skipped = name != pattern and any(fnmatchcase(name, skip) for skip in source.skip)
            if not skipped and name not in names and re.search(source.defined, found[name]):
                names.append(name)
    return names


def evaluate(source: Source, arch: str, stubs: str) -> dict[str, int]:
    """Name → value of what a source takes on one architecture.

    Raises:
        SystemExit: gcc refuses a name, and the source does not allow for that; or a pattern fits nothing on x86_64.
    """
    found = candidates(source, arch, stubs) if source.headers else {}
    names = choose(source, found)
    missing = [pattern for pattern in source.take if not any(fnmatchcase(name, pattern) for name in names)]
    if missing and arch == "x86_64":
        raise SystemExit(f"{source.name}: the headers have no {', '.join(missing)}")
    before = _includes(source.headers)
    while names:
        lines = [
            f'__attribute__((section("values"), used)) static const unsigned long long v{number} = '
            f"(unsigned long long)({source.shifted(name)});\n"
            for number, name in enumerate(names)
        ]
        compiled, values = Path(stubs, "v.o"), Path(stubs, "values")
        arguments = ("-fmax-errors=0", "-fno-toplevel-reorder", "-c", "-o", str(compiled))
        done = _gcc(*arguments, text=before + "".join(lines), arch=arch, stubs=stubs)
        if done.returncode == 0:
            subprocess.run(["objcopy", "-O", "binary", "-j", "values", compiled, values], check=True)
            numbers = [_unsigned(number) for (number,) in struct.iter_unpack("<Q", values.read_bytes())]
            return dict(zip(names, numbers, strict=True))
        offset = before.count("\n") + 1
        bad = {int(line) - offset for line in re.findall(r"^<stdin>:(\d+):\d+: error", done.stderr, re.MULTILINE)}
        if not bad or not source.tolerant:
            raise SystemExit(f"{source.name} on {arch}: {done.stderr}")
        names = [name for number, name in enumerate(names) if number not in bad]
    return {}


def _unsigned(value: int) -> int:
    # A negative int reads as 64 bits with the sign in front; the recorder keeps 32 bits of an int.
    return value & 0xFFFFFFFF if value >= 0xFFFFFFFF80000000 else value


def vocabulary(source: Source, stubs: str) -> dict[str, Any]:
    """One vocabulary as the data file has it."""
    tables = {arch: {**source.add, **evaluate(source, arch, stubs)} for arch in FLAGS}
    for arch, base in BASE.items():
        tables[arch] = dict(tables[base])
    for arch, changes in OTHER_ARCHES.get(source.name, {}).items():
        for name, value in changes.items():
            if name == "*":
                tables[arch].clear()
            elif value is None:
                tables[arch].pop(name, None)
            else:
                tables[arch][name] = value
    base_table = tables.pop("x86_64")
    document: dict[str, Any] = {"values": _ordered(source, base_table)}
    if source.fields:
        document["fields"] = list(source.fields)
        document["last"] = source.last
    arches = {arch: _difference(base_table, table) for arch, table in tables.items()}
    if any(arches.values()):
        document["arches"] = {arch: arches[arch] for arch in sorted(arches) if arches[arch]}
    return document


def _ordered(source: Source, table: Mapping[str, int]) -> dict[str, int]:
    # By value; among names of one value the one that was taken first, which is what gets printed.
    rank = {name: number for number, name in enumerate(table)}
    return dict(sorted(table.items(), key=lambda item: (item[1], rank[item[0]])))


def _difference(base: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int | None]:
    if base and not other:
        return {"*": None}  # no name at all
    changed: dict[str, int | None] = {name: None for name in base if name not in other}
    changed |= {name: value for name, value in other.items() if base.get(name) != value}
    return dict(sorted(changed.items()))


def document() -> str:
    """The content of the data file."""
    with tempfile.TemporaryDirectory() as stubs:
        for stub in STUBS:
            Path(stubs, stub).parent.mkdir(exist_ok=True)
            Path(stubs, stub).touch()
        vocabularies = {source.name: vocabulary(source, stubs) for source in sorted(VOCABULARIES, key=_name)}
    doubled = [
        name
        for name, group in itertools.groupby(sorted(source.name for source in VOCABULARIES))
        if len(list(group)) > 1
    ]
    unknown = [
        name for levels in PAIRS.values() for names in levels.values() for name in names if name not in vocabularies
    ]
    if doubled or unknown:
        raise SystemExit(f"vocabularies twice: {doubled}; in PAIRS but not there: {unknown}")
    return json.dumps({"source": ORIGIN, "pairs": PAIRS, "vocabularies": vocabularies}, indent=1) + "\n"


def _name(source: Source) -> str:
    return source.name


def main() -> int:
    """Write the file; print its name if it changed."""
    content = document()
    path = DATA / FILE
    if not path.exists() or path.read_text() != content:
        path.write_text(content)
        print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
