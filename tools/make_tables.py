#!/usr/bin/env python3
"""Write scmm_oci/tables/data/syscalls.ARCH.json from the PyPI package ``system-calls`` (MIT licence).

That package follows the kernel's own tables, so it forgets calls that the kernel has dropped; their numbers are never
given out again and programs may still try them, so RETIRED adds their names. Run by ``make tables``; a unit test
runs it again and compares.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

PINNED = "7.2"
DATA = Path(__file__).resolve().parent.parent / "scmm_oci" / "tables" / "data"

# Our name (uname -m, or the ABI's usual name) → the package's.
ARCHES = {
    "x86_64": "x86_64",
    "x86": "i386",
    "x32": "x32",
    "aarch64": "arm64",
    "arm": "arm",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "s390": "s390",
    "ppc64le": "powerpc64",
}

X32_SYSCALL_BIT = 0x40000000

# Numbers of <asm/unistd.h> whose calls the kernel no longer has (it answers ENOSYS): source, Linux 6.1's headers for
# x86, compared with libseccomp 2.5.4's tables for the others.
RETIRED: dict[str, dict[str, int]] = {
    "x86_64": {
        "uselib": 134, "_sysctl": 156, "create_module": 174, "get_kernel_syms": 177, "query_module": 178,
        "nfsservctl": 180, "getpmsg": 181, "putpmsg": 182, "afs_syscall": 183, "tuxcall": 184, "security": 185,
        "vserver": 236,
    },
    "x86": {
        "break": 17, "stty": 31, "gtty": 32, "ftime": 35, "prof": 44, "lock": 53, "mpx": 56, "ulimit": 58,
        "uselib": 86, "profil": 98, "idle": 112, "create_module": 127, "get_kernel_syms": 130, "bdflush": 134,
        "afs_syscall": 137, "_sysctl": 149, "query_module": 167, "nfsservctl": 169, "getpmsg": 188, "putpmsg": 189,
        "vserver": 273,
    },
    "x32": {"getpmsg": 181, "putpmsg": 182, "afs_syscall": 183, "tuxcall": 184, "security": 185},
    "aarch64": {"nfsservctl": 42},
    "arm": {"uselib": 86, "bdflush": 134, "_sysctl": 149, "nfsservctl": 169, "vserver": 313},
    "riscv64": {"nfsservctl": 42},
    "s390x": {
        "uselib": 86, "idle": 112, "create_module": 127, "get_kernel_syms": 130, "bdflush": 134, "afs_syscall": 137,
        "_sysctl": 149, "query_module": 167, "nfsservctl": 169, "getpmsg": 188, "putpmsg": 189,
    },
    "s390": {
        "uselib": 86, "idle": 112, "create_module": 127, "get_kernel_syms": 130, "bdflush": 134, "afs_syscall": 137,
        "_sysctl": 149, "query_module": 167, "nfsservctl": 169, "getpmsg": 188, "putpmsg": 189,
    },
    "ppc64le": {
        "break": 17, "stty": 31, "gtty": 32, "ftime": 35, "prof": 44, "lock": 53, "mpx": 56, "ulimit": 58,
        "uselib": 86, "profil": 98, "idle": 112, "create_module": 127, "get_kernel_syms": 130, "bdflush": 134,
        "afs_syscall": 137, "_sysctl": 149, "query_module": 166, "nfsservctl": 168, "getpmsg": 187, "putpmsg": 188,
        "tuxcall": 225,
    },
}  # fmt: skip


def tables() -> dict[str, str]:
    """File name → content of every table.

    Raises:
        SystemExit: the installed package is not the pinned version, or a retired number is in use again.
    """
    version = importlib.metadata.version("system-calls")
    if version != PINNED:
        raise SystemExit(f"system-calls {PINNED} is pinned, {version} is installed: pip install system-calls=={PINNED}")
    from system_calls import syscalls

    source = syscalls()
    files = {}
    for ours, theirs in ARCHES.items():
        table = {
            name: number & ~X32_SYSCALL_BIT if ours == "x32" else number
            for name, number in source.load_arch_table(theirs).items()
        }
        taken = set(table.values())
        for name, number in RETIRED[ours].items():
            if name in table or number in taken:
                raise SystemExit(f"{ours}: {name} ({number}) is no longer retired; take it off the list")
            table[name] = number
        ordered = dict(sorted(table.items(), key=lambda item: item[1]))
        origin = f"system-calls {version} (Linux {source.linux_version})"
        document = {"arch": ours, "source": origin, "syscalls": ordered}
        files[f"syscalls.{ours}.json"] = json.dumps(document, indent=1) + "\n"
    return files


def main() -> int:
    """Write every table; print the names of those that changed."""
    for name, content in tables().items():
        path = DATA / name
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
            print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
