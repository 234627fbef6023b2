#!/usr/bin/env python3
"""Write scmm_oci/tables/data/groups.systemd.json: systemd's groups of system calls, from ``systemd-analyze``.

Groups keep their nesting: a member that begins with "@" is a group. ``@known`` is left out: it is every call of every
architecture that systemd knows, 59 of them of none that we know, so no filter of ours could mean it. Run by
``make tables``; a unit test runs it again and compares.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = "252"
DATA = Path(__file__).resolve().parent.parent / "scmm_oci" / "tables" / "data"
FILE = "groups.systemd.json"
LEFT_OUT = ("@known",)


def parse(text: str) -> dict[str, dict[str, Any]]:
    """Group → its description and members, of what ``systemd-analyze syscall-filter`` prints.

    A group is its name at the beginning of a line, then indented lines: a comment that describes it, then members.
    Other lines that begin with "#" are remarks about the running kernel.

    Raises:
        SystemExit: a line is none of these.
    """
    groups: dict[str, dict[str, Any]] = {}
    group: dict[str, Any] = {}
    for line in text.splitlines():
        word = line.strip()
        if not word or line.startswith("#"):
            continue
        if line.startswith("@"):
            group = groups[word] = {"description": "", "members": []}
        elif not groups or not line.startswith("    ") or (" " in word and not word.startswith("#")):
            raise SystemExit(f"systemd-analyze printed a line that is not understood: {line!r}")
        elif word.startswith("#"):
            group["description"] = word.removeprefix("#").strip()
        else:
            group["members"].append(word)
    return {name: groups[name] for name in sorted(groups) if name not in LEFT_OUT}


def _output(*arguments: str) -> str:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def installed() -> str | None:
    """The version of the installed systemd ("252"), or None where there is no systemd-analyze."""
    try:
        return _output("--version").split()[1]
    except FileNotFoundError:
        return None


def document() -> str:
    """The content of the data file.

    Raises:
        SystemExit: the installed systemd is not the pinned version.
    """
    version = installed()
    if version != PINNED:
        raise SystemExit(f"systemd {PINNED} is pinned, installed is {version or 'none'}: see tools/setup-debian")
    groups = parse(_output("syscall-filter"))
    return json.dumps({"source": f"systemd {version}", "groups": groups}, indent=1) + "\n"


def main() -> int:
    """Write the file; print its name if it changed."""
    path, content = DATA / FILE, document()
    if not path.exists() or path.read_text() != content:
        path.write_text(content)
        print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
