"""A policy's file and network rules under Landlock, for a program in a root directory of its own.

An oracle: it does what docs/formats.md says of patterns and on_missing, by looking at the files that are there, and
has landlocked.py enforce the result. Nothing here is of the product but the policy's values.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import ROOT

from benchmarks.policy_runs import job
from benchmarks.policy_workloads import Variant, Workload, write_host_root
from rig import images
from rig.mounts import overlay, private_dir
from rig.process import RigError, run, wait_until
from scmm_oci.policy.model import NetworkRule, Policy, PortRange

_REMOVE = ("remove_file", "remove_dir")
_WILD = re.compile(r"(?<!\\)[*?\[]")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_EVERY_PORT = (PortRange(0, 65535),)


def landlock_rules(policy: Policy, root: Path) -> dict[str, Any]:
    """The rules for landlocked.py --root; files to be made beforehand are made below `root`."""
    assert policy.filesystem is not None and policy.network is not None
    rules: dict[str, set[str]] = {}
    for rule in policy.filesystem:
        rights = {one for right in rule.access for one in (_REMOVE if right == "remove" else (right,))}
        for path in _there(rule.path, root, rule.on_missing):
            rules.setdefault(path, set()).update(rights)
    result: dict[str, Any] = {path: sorted(rights) for path, rights in rules.items()}
    result["bind_tcp"] = _ports(policy.network.inbound)
    result["connect_tcp"] = _ports(policy.network.outbound)
    return result


def _there(text: str, root: Path, on_missing: str) -> list[str]:
    """The paths that a rule stands for when the program starts."""
    if text.startswith("/proc/"):
        return [text]  # mounted later; landlocked.py knows it
    whole = text.endswith("/**")
    words = text.removesuffix("/**").split("/")[1:]
    found = [""]
    for index, word in enumerate(words):
        found = [f"{base}/{name}" for base in found for name in _names(root, base, word, index, len(words), whole)]
    if found or on_missing == "skip":
        return found
    path = re.sub(r"\\(.)", r"\1", text)
    parent = path.rpartition("/")[0]
    assert not whole and os.path.isdir(f"{root}{parent}"), f"{on_missing} of {path}, and {parent} is not there"
    if on_missing == "parentdir":
        return [parent or "/"]
    Path(f"{root}{path}").touch()
    return [path]


def _names(root: Path, base: str, word: str, index: int, depth: int, whole: bool) -> list[str]:
    directory = f"{root}{base}"
    if not os.path.isdir(directory):
        return []
    if not _WILD.search(word):
        name = re.sub(r"\\(.)", r"\1", word)
        return [name] if os.path.lexists(f"{directory}/{name}") else []
    pattern = re.compile(_regex(word), re.DOTALL)
    # The last component's wildcards stand for files, those before it and those of BASE/** for directories.
    files = index == depth - 1 and not whole
    return [
        name
        for name in sorted(os.listdir(directory))
        if pattern.fullmatch(name)
        and not os.path.islink(f"{directory}/{name}")
        and os.path.isdir(f"{directory}/{name}") != files
    ]


def _regex(word: str) -> str:
    found = re.findall(r"\\.|\[[!^]?\]?[^]]*\]|.", word, re.DOTALL)
    known = {"*": ".*", "?": "."}
    return "".join(
        known[one]
        if one in known
        else re.escape(one[-1])
        if one[0] == "\\" or len(one) == 1
        else one.replace("[!", "[^")
        for one in found
    )


def _ports(rules: Sequence[NetworkRule]) -> list[int]:
    return sorted(
        {
            port
            for rule in rules
            if rule.protocol == "tcp"
            for ports in rule.ports or _EVERY_PORT
            for port in range(ports.first, ports.last + 1)
        }
    )


@contextmanager
def rooted(workload: Workload) -> Iterator[Path]:
    """A new root directory with all that the workload's container has, but for /proc."""
    with private_dir("root") as base:
        root = base / "root"
        root.mkdir()
        if workload.image == "services":
            overlay(root, lower=images.rootfs(images.services()), work=base)
        else:
            write_host_root(base / "host.tar")
            run(["tar", "-C", root, "-xpf", base / "host.tar"])
        for name in ("dev", "sys"):
            run(["mount", "--rbind", f"/{name}", root / name])
        run(["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", root / "dev/shm"])
        for path in workload.mounts:
            target = Path(f"{root}{path}")
            if not Path(path).is_dir():
                target.touch()
            run(["mount", "--bind", "-o", "ro", path, target])
        for path, content in workload.files.items():
            target = Path(f"{root}{path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        yield root


def landlocked(workload: Workload, variant: Variant, policy: Policy | None) -> None:
    """One run of the job under the policy's files and ports, or without rules. Raises RigError where it fails."""
    with rooted(workload) as root, private_dir("rules") as base:
        if policy is None:
            confined = ["chroot", str(root)]
        else:
            (base / "rules.json").write_text(json.dumps(landlock_rules(policy, root)))
            helper = str(ROOT / "tests/runtime/landlocked.py")
            confined = [sys.executable, helper, str(base / "rules.json"), "--root", str(root)]
        spaces = ["unshare", "--pid", "--fork", "--kill-child", "--net", f"--mount-proc={root}/proc"]
        begin = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        words = [*spaces, *begin, *confined, *workload.words(variant)]
        with open(base / "output", "wb") as output:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_ENVIRONMENT, start_new_session=True
            )
        running = _Process(process, base / "output")
        try:
            job(workload, variant, running)
        finally:
            running.kill()


class _Process:
    """The program below unshare(1), which is the first process of a PID namespace."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process, self._output = process, output

    def pid(self) -> int:
        def first() -> int:
            if self._process.poll() is not None:
                raise RigError(f"it has ended:\n{self.output()}")
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            return int(children[0]) if children else 0

        return wait_until(first, deadline_s=10, what="it is there", detail=self.output)

    def end(self) -> None:
        os.kill(self.pid(), signal.SIGTERM)

    def wait(self) -> int:
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()  # --kill-child: the others go with it
            self._process.wait()

    def output(self) -> str:
        return self._output.read_text("utf-8", "backslashreplace")
