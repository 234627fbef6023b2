"""Verbs that confine themselves: a parser that is taken over gets nowhere, and where none is, everything works.

Each attack runs twice: in the command as a user starts it, and, as the control, called from Python with arguments,
where nothing confines it and all of it succeeds.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from interviewed import RICH
from samples import as_bytes, nginx
from support import ROOT, need

from scmm_oci.cli import main as cli
from scmm_oci.kernel import landlock
from scmm_oci.tables import landlock as table

POLICY = """\
version: "1.0"
metadata: {name: web}
syscalls: [{names: [read, write, execve, exit_group, rt_sigreturn], action: allow}]
"""
PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
}
TRACE = """\
100 execve("/bin/true", ["true"], 0x7ffd /* 10 vars */) = 0
100 exit_group(0) = ?
100 +++ exited with 0 +++
"""
LOG = (
    'audit: type=1326 audit(1795646765.150:15391): auid=0 uid=0 gid=0 ses=0 pid=22521 comm="x" exe="/x" '
    "sig=31 arch=c000003e syscall=39 compat=0 ip=0x401933 code=0x80000000\n"
)

# Puts an attack in place of a parser, and starts the command: as a process of its own, or as Python code calls it.
PLANTED = """
import errno, json, os, signal, socket, sys
how, parser, targets, *words = sys.argv[1:]
targets = json.loads(targets)

def read(): return open(targets["secret"]).read()
def list_directory(): return os.listdir(os.path.dirname(targets["secret"]))
def write(): open(targets["written"], "w").write("x")
def append(): open(targets["secret"], "a").write("x")
def remove(): os.unlink(targets["removed"])
def make_link(): os.symlink("/", targets["linked"])
def make_directory(): os.mkdir(targets["made"])
def execute(): return os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
def connect(): socket.create_connection(("127.0.0.1", targets["port"]), timeout=30).close()
def listen(): socket.socket().bind(("127.0.0.1", 0))
def abstract(): socket.socket(socket.AF_UNIX).connect(targets["abstract"])
def kill(): os.kill(targets["victim"], signal.SIGTERM)
def memory(): return open(f"/proc/{targets['victim']}/environ").read()
def change_mode(): os.chmod(targets["secret"], 0o600)
def change_owner(): os.chown(targets["secret"], os.getuid(), os.getgid())
def change_times(): os.utime(targets["secret"])
def engine(): socket.socket(socket.AF_UNIX).connect(targets["unix"])
def administer(): socket.sethostname(socket.gethostname())
def beside():
    name = os.path.join(targets["outputs"], "beside")
    open(name, "w").close()
    os.unlink(name)
def link_beside(): os.symlink("/", os.path.join(targets["outputs"], "link"))
def late(): import mailbox, xml.dom.minidom
def again(): return open(targets["input"], "rb").read(1)

def attack(*given, **named):
    found = {}
    # Of who is killed, nothing can be read afterwards.
    for each in (read, list_directory, write, append, remove, make_link, make_directory, execute, connect, listen,
                 abstract, engine, change_mode, change_owner, change_times, memory, administer,
                 kill, beside, link_beside, late, again):
        try:
            each()
            found[each.__name__] = "done"
        except OSError as error:
            found[each.__name__] = errno.errorcode[error.errno]
    print(json.dumps(found), flush=True)
    os._exit(0)

import importlib
module, _, name = parser.rpartition(".")
setattr(importlib.import_module(module), name, attack)
from scmm_oci.cli.main import main
sys.argv = ["scmm", *words]
sys.exit(main() if how == "own" else main(words))
"""

DENIED = {
    **dict.fromkeys(("read", "list_directory", "write", "append", "remove", "make_link", "make_directory"), "EACCES"),
    **dict.fromkeys(("execute", "memory", "link_beside"), "EACCES"),
    **dict.fromkeys(("connect", "listen", "abstract", "engine", "kill", "administer"), "EPERM"),
    **dict.fromkeys(("change_mode", "change_owner", "change_times"), "EPERM"),
    "late": "done",
    "again": "done",
}
CAPTURES = "scmm_oci.capture.file.parse_all"
POLICIES = "scmm_oci.policy.document.parse"
# Verb → its words, the parser that is taken over, and whether it writes anything.
VERBS = {
    "show": ("show in.scmm-cap", CAPTURES, False),
    "show-compiled": ("show in.scmm-pol", "scmm_oci.compiled.polfile.read", False),
    "merge": ("merge in.scmm-cap in.scmm-cap -o out/m.scmm-cap", CAPTURES, True),
    "merge-policies": ("merge in.scmm.yaml in.scmm.yaml -o out/m.scmm.yaml", POLICIES, True),
    "extract": ("extract -i in.scmm-cap -o out/p.scmm.yaml --oci out/p.json", CAPTURES, True),
    "extract-update": ("extract -i in.scmm-cap --update in.scmm.yaml -o out/p.scmm.yaml", POLICIES, True),
    "extract-stats": ("extract -i in.scmm-cap --stats-only", CAPTURES, False),
    "diff": ("diff in.scmm.yaml in.scmm.yaml", POLICIES, False),
    "lint": ("lint in.scmm.yaml", POLICIES, False),
    "graph": ("graph in.scmm.yaml -o out/p.svg", POLICIES, True),
    "verify": ("verify in.scmm.yaml --against in.scmm-cap", CAPTURES, False),
    "explain": ("explain read -p in.scmm.yaml", POLICIES, False),
    "disasm": ("disasm in.scmm.yaml", POLICIES, False),
    "disasm-raw": ("disasm --raw in.bpf", "scmm_oci.compiled.bpf.decode", False),
    "compile": ("compile -i in.scmm.yaml -o out/p.scmm-pol", POLICIES, True),
    "logs": ("logs --all --file in.log", "scmm_oci.enforcer.logs.records.of_text", False),
    "logs-policy": ("logs --all --file in.log -p in.scmm.yaml", POLICIES, False),
    # With the rights on this host's logs and processes that it takes without a file.
    "logs-here": ("logs --all -p in.scmm.yaml", "scmm_oci.enforcer.logs.reading.boot", False),
    "import-profile": ("import-profile in.json -o out/p.scmm.yaml", "scmm_oci.oci.rich.parse", True),
    "policy": ("policy add web in.scmm-pol --store out/", "scmm_oci.compiled.polfile.read", True),
    "import-strace": ("import-strace in.strace -o out/p.scmm-cap", "scmm_oci.cli.import_strace.import_logs", True),
}


@pytest.fixture(scope="module", autouse=True)
def _landlock() -> None:
    found = landlock.abi()
    need("KERNEL", None if found >= 6 else f"Landlock's ABI is {found} here, and the tests need 6")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("inputs")
    (made / "out").mkdir()
    (made / "in.scmm-cap").write_bytes(as_bytes(nginx()))
    (made / "rich.scmm-cap").write_bytes(as_bytes(RICH))
    (made / "in.scmm.yaml").write_text(POLICY)
    (made / "in.json").write_text(json.dumps(PROFILE))
    (made / "in.log").write_text(LOG)
    (made / "in.strace").write_text(TRACE)
    (made / "in.bpf").write_bytes(bytes.fromhex("0600000000000000"))
    assert cli.main(["compile", "-i", str(made / "in.scmm.yaml"), "-o", str(made / "in.scmm-pol")]) == 0
    return made


@dataclass
class Targets:
    """What is given to an attack, and the process that it would kill."""

    named: dict[str, Any]
    victim: subprocess.Popen[bytes]

    def effects(self) -> dict[str, bool]:
        """What has become of them; ends the victim."""
        there = {name: os.path.lexists(self.named[name]) for name in ("removed", "written", "linked", "made")}
        appended = Path(self.named["secret"]).read_text() != "secret"
        assert self.victim.stdin is not None
        self.victim.stdin.close()
        return {**there, "appended": appended, "killed": self.victim.wait(30) == -signal.SIGTERM}


@pytest.fixture
def targets(inputs: Path, tmp_path: Path) -> Iterator[Targets]:
    """What an attack goes for, all of it beside the inputs and outputs."""
    for name in ("secret", "removed"):
        (tmp_path / name).write_text(name)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as path,
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as victim,
    ):
        unix.bind("")  # the kernel gives it an abstract name
        unix.listen()
        path.bind(str(tmp_path / "engine"))
        path.listen()
        named = {name: str(tmp_path / name) for name in ("secret", "removed", "written", "linked", "made")}
        named |= {"abstract": unix.getsockname().decode(), "outputs": str(inputs / "out")}
        named |= {"unix": str(tmp_path / "engine")}
        yield Targets({**named, "port": server.getsockname()[1], "victim": victim.pid}, victim)


def attacked(inputs: Path, targets: Targets, how: str, verb: str) -> dict[str, str]:
    words, parser, _ = VERBS[verb]
    given = next(word for word in words.split() if word.startswith("in."))
    argv = [sys.executable, "-c", PLANTED, how, parser, json.dumps({**targets.named, "input": given}), *words.split()]
    done = run(inputs, argv)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def run(inputs: Path, argv: list[str]) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        argv, cwd=inputs, env=environ, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
    )


@pytest.mark.parametrize("verb", VERBS)
def test_parser_that_is_taken_over_gets_nowhere(inputs: Path, targets: Targets, verb: str) -> None:
    writes = VERBS[verb][2]
    assert attacked(inputs, targets, "own", verb) == {**DENIED, "beside": "done" if writes else "EACCES"}
    assert targets.effects() == {
        **dict.fromkeys(("written", "linked", "made", "appended", "killed"), False),
        "removed": True,
    }


@pytest.mark.parametrize("verb", ["show", "compile", "logs", "logs-here"])
def test_control_without_confinement_all_of_it_succeeds(inputs: Path, targets: Targets, verb: str) -> None:
    found = attacked(inputs, targets, "called", verb)
    Path(inputs, "out/link").unlink()
    try:
        socket.sethostname(socket.gethostname())
    except PermissionError:
        assert found.pop("administer") == "EPERM"  # nothing that could have been given up
        found["administer"] = "done"
    assert found == dict.fromkeys([*DENIED, "beside"], "done")
    assert targets.effects() == {
        **dict.fromkeys(("written", "linked", "made", "appended", "killed"), True),
        "removed": False,
    }


@pytest.mark.parametrize(
    "verb", ["show-compiled", "explain", "disasm", "logs-policy", "import-profile", "import-strace"]
)
def test_verbs_do_their_work_all_the_same(inputs: Path, tmp_path: Path, verb: str) -> None:
    done, outputs = worked(inputs, tmp_path, verb)
    assert (done.stdout == "") == VERBS[verb][2] == bool(outputs)


@pytest.mark.parametrize("verb", ["merge", "extract", "compile"])
def test_outputs_are_replaced(inputs: Path, tmp_path: Path, verb: str) -> None:
    # Several files are kept under other names until all are written.
    _, outputs = worked(inputs, tmp_path, verb)
    first = [(path.read_bytes(), path.stat().st_ino) for path in outputs]
    worked(inputs, tmp_path, verb)
    assert [path.read_bytes() for path in outputs] == [data for data, _ in first]
    assert all(path.stat().st_ino not in [number for _, number in first] for path in outputs)


UNLINKED = """
import os, sys
def link(*given, **named): raise OSError(1, "no links here")
os.link = link
from scmm_oci.cli.main import main
sys.exit(main())
"""


def test_outputs_that_cannot_be_linked_to_are_kept_as_copies(inputs: Path, tmp_path: Path) -> None:
    _, outputs = worked(inputs, tmp_path, "extract")
    first = [path.read_bytes() for path in outputs]
    words = VERBS["extract"][0].replace("out/", f"{tmp_path}/").split()
    done = run(inputs, [sys.executable, "-c", UNLINKED, *words])
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in outputs] == first and sorted(tmp_path.iterdir()) == sorted(outputs)


def worked(inputs: Path, place: Path, verb: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    words = [word.replace("out/", f"{place}/") for word in VERBS[verb][0].split()]
    done = run(inputs, [sys.executable, "-m", "scmm_oci.cli.main", *words])
    assert (done.returncode, "not confined" in done.stderr) == (0, False), done.stderr
    outputs = [Path(word) for word in words if word.startswith(str(place))]
    assert all(path.stat().st_size for path in outputs) and sorted(place.iterdir()) == sorted(outputs)
    return done, outputs


def test_input_may_be_a_pipe(inputs: Path) -> None:
    with subprocess.Popen(["/bin/cat", "in.scmm-cap"], cwd=inputs, stdout=subprocess.PIPE) as cat:
        done = subprocess.run(
            [sys.executable, "-m", "scmm_oci.cli.main", "show", "/dev/stdin", "--json"],
            cwd=inputs, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=cat.stdout, capture_output=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recordings"]


def test_what_cannot_be_read_is_told_as_without(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["show", "."], ["show", "none.scmm-cap"], ["merge", "in.scmm-cap", "-o", "none/x"]):
        done = run(inputs, [sys.executable, "-m", "scmm_oci.cli.main", *words])
        here = [str(inputs / word) if word in (".", "in.scmm-cap") else word for word in words]
        code = cli.main(here)
        alone = capsys.readouterr().err
        assert done.returncode == code != 0
        assert done.stderr.rpartition(":")[2] == alone.rpartition(":")[2]


def test_reader_that_goes_away_is_no_defect(inputs: Path) -> None:
    words = [sys.executable, "-m", "scmm_oci.cli.main", "show", "--json", "in.scmm-cap"]
    with subprocess.Popen(
        words, cwd=inputs, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 1 and b"Traceback" not in told


REFUSING = """
import errno, sys
from scmm_oci.kernel import landlock
def call(number, *words):
    raise OSError(errno.E2BIG, "refused here")
refuses = sys.argv.pop(1) == "refuses"
landlock.abi = lambda: 6 if refuses else 0
landlock._call = call
from scmm_oci.cli.main import main
sys.exit(main())
"""


def test_kernel_that_refuses_is_told_and_one_without_is_not(inputs: Path) -> None:
    refused = run(inputs, [sys.executable, "-c", REFUSING, "refuses", "show", "in.scmm-cap"])
    assert (refused.returncode, refused.stderr) == (0, "note: not confined: refused here\n")
    without = run(inputs, [sys.executable, "-c", REFUSING, "none", "show", "in.scmm-cap"])
    assert (without.returncode, without.stderr, without.stdout) == (0, "", refused.stdout)


# These read nothing that others wrote, or need what a domain takes: SECURITY.md.
NOT_CONFINED = {"hooks", "install", "doctor", "record", "groups", "enforce", "try", "monitor", "watch"}


def test_every_verb_is_confined_or_has_a_reason_not_to_be() -> None:
    attacked_here = {words.split()[0] for words, _, _ in VERBS.values()}
    assert attacked_here == cli.VERBS.keys() - NOT_CONFINED


def test_every_command_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    given: list[object] = []
    monkeypatch.setattr(cli, "run", lambda command, argv, *, name: given.append(argv))
    entries = [target for target in scripts.values() if target.startswith("scmm_oci.cli.main:")]
    for target in entries:
        module, _, name = target.partition(":")
        getattr(importlib.import_module(module), name)()
    assert given == [None] * len(entries) and len(entries) > 10


def test_this_process_is_left_alone(inputs: Path) -> None:
    assert cli.main(["lint", str(inputs / "in.scmm.yaml")]) == 0
    assert Path("/etc/passwd").read_text() and "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()


@pytest.mark.parametrize("abi", range(table.NEWEST_ABI + 2))
def test_bits_are_those_of_the_tables(abi: int) -> None:
    known = (table.fs_of_abi(abi), table.net_of_abi(abi), table.scopes_of_abi(abi))
    assert landlock.handled(abi) == known


def test_names_of_rights_are_those_of_the_tables() -> None:
    for name, bit in table.FS_RIGHTS.items():
        assert getattr(landlock, name.upper(), bit) == bit
    assert landlock._OF_FILES == table.FILE_RIGHTS
    assert table.fs_names(landlock.REPLACE) == ("write_file", "remove_file", "make_reg", "truncate")


CONFINED = """
import os, sys
from scmm_oci.kernel import landlock
kept = os.open("/proc/self/mountinfo", os.O_PATH)
assert landlock.confine([(sys.argv[1], landlock.READ), ("/none", landlock.READ), (kept, landlock.READ)]) >= 6
open(os.path.join(sys.argv[1], "in.json")).close()
open("/proc/self/mountinfo").close()
for path in ("/proc/self/status", "/etc/passwd"):
    try:
        open(path).close()
    except PermissionError:
        continue
    sys.exit(f"{path} can be read")
os.fstat(kept)
layers = 1
try:
    while True:
        landlock.confine([])
        layers += 1
except OSError as error:
    print(layers, error.errno, landlock.abi() > 0)
"""


def test_domains_hold_what_they_were_made_of(inputs: Path) -> None:
    done = run(inputs, [sys.executable, "-c", CONFINED, str(inputs)])
    # At most 16 layers: landlock(7).
    assert (done.stdout, done.stderr) == (f"16 {errno.E2BIG} True\n", "")
