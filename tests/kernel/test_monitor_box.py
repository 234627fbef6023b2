"""The example of a program that may change files in one place and reach one port, with every way out tried."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import enforce
import yaml
from monitored import monitoring
from support import ROOT

EXAMPLE = ROOT / "examples/monitor"
PROGRAM = """
import json, os, socket, sys
inside, outside, right, wrong = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
found = {}
def tried(name, do, *given, **more):
    try:
        do(*given, **more)
        found[name] = 0
    except OSError as error:
        found[name] = error.errno
def write(path):
    with open(path, "w") as file:
        file.write("changed")
def reach(port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.connect(("127.0.0.1", port))
        one.send(b"x")
def datagram(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", port))
tried("read outside", lambda: open(outside + "/file").close())
tried("null", write, "/dev/null")
tried("write", write, inside + "/new")
tried("mkdir", os.mkdir, inside + "/made")
tried("move", os.rename, inside + "/new", inside + "/made/new")
tried("chmod", os.chmod, inside + "/made/new", 0o600)
tried("unlink", os.unlink, inside + "/made/new")
tried("port", reach, right)
tried("write outside", write, outside + "/file")
tried("by dots", write, inside + "/../outside/file")
tried("by a link", write, inside + "/link")
tried("truncate", os.truncate, outside + "/file", 0)
tried("unlink outside", os.unlink, outside + "/file")
tried("move in", os.rename, outside + "/file", inside + "/file")
tried("move out", os.rename, inside + "/made", outside + "/made")
tried("link in", os.link, outside + "/file", inside + "/file")
tried("chmod outside", os.chmod, outside + "/file", 0o777)
tried("chmod of a descriptor", lambda: os.chmod(os.open(outside + "/file", os.O_RDONLY), 0o777))
tried("times", os.utime, outside + "/file", (1, 1))
tried("attributes", os.setxattr, outside + "/file", "user.x", b"x")
tried("other port", reach, wrong)
tried("other port, datagrams", reach, wrong, socket.SOCK_DGRAM)
tried("unconnected", datagram, wrong)
tried("bind", lambda: socket.socket().bind(("127.0.0.1", 0)))
print(json.dumps(found))
"""
MAY = ("read outside", "null", "write", "mkdir", "move", "chmod", "unlink", "port")


def test_files_are_changed_in_one_place_and_one_port_is_reached(tmp_path: Path) -> None:
    enforce.needed()
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for each in (inside, outside):
        each.mkdir()
    (outside / "file").write_text("as it was")
    (outside / "file").chmod(0o644)
    (inside / "link").symlink_to(outside / "file")
    rules = (EXAMPLE / "box.monitor.yaml").read_text()
    with socket.create_server(("127.0.0.1", 0)) as right, socket.create_server(("127.0.0.1", 0)) as wrong:
        ports = [one.getsockname()[1] for one in (right, wrong)]
        given = yaml.safe_load(rules.replace("/srv/notes", str(inside)).replace("5432", str(ports[0])))

        def change(before: dict[str, Any]) -> None:
            before.clear()
            before.update(given)

        program = [sys.executable, "-c", PROGRAM, str(inside), str(outside), *map(str, ports)]
        with monitoring(tmp_path, change=change) as monitor:
            under = [sys.executable, "-m", "scmm_oci.cli.main", "enforce", "-q", "-p", str(EXAMPLE / "box.scmm.yaml")]
            done = subprocess.run(
                [*under, "--listener", str(monitor.socket), "--", *program], capture_output=True, text=True, timeout=120
            )
        assert done.returncode == 0, done.stderr + monitor.told
        found = json.loads(done.stdout)
        assert {name: number for name, number in found.items() if name in MAY} == dict.fromkeys(MAY, 0)
        refused = {name: number for name, number in found.items() if name not in MAY}
        assert len(refused) == 16 and set(refused.values()) == {errno.EPERM}, refused
        file = outside / "file"
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("as it was", 0o644)
        assert sorted(one.name for one in outside.iterdir()) == ["file"]
        # The control: without all that, most of it is done.
        free = json.loads(subprocess.run(program, capture_output=True, text=True, timeout=60, check=True).stdout)
        assert free["write outside"] == free["by a link"] == free["other port"] == free["unconnected"] == 0


def test_a_name_that_leads_nowhere_is_no_failure_of_the_monitor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with monitoring(tmp_path, "--log", str(log)) as monitor, monitor.asks() as asked:
        there = [asked.ask(f"open 1 1 0 {tmp_path}/{name}").split()[3] for name in ("shut/none/file", "shut/file")]
    assert there == [str(-errno.ENOENT), str(-errno.EPERM)]
    written = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["by"], one["errno"]) for one in written] == [("nowhere", "ENOENT"), ("default", "EPERM")]
