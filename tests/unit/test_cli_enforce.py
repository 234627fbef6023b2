"""``scmm enforce`` with real filters: forms of policies, rules for one run, what reaches the program, and all that is
refused before anything runs."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scmm_oci.cli import main as verbs
from scmm_oci.enforcer import launcher

# mkdir(1) makes one of the two, whatever the machine; the errno is one that nothing else answers.
MKDIR = "mkdir,mkdirat"
ANSWER = "EPROTO"
YAML = f"""version: "1.0"
settings: {{default_action: allow, arch: {os.uname().machine}}}
syscalls:
  - {{names: [CALLS], action: deny, errno: {ANSWER}}}
"""
COMMAND = [sys.executable, "-m", "scmm_oci.cli.main", "enforce"]
LAUNCHER = launcher.find(os.uname().machine)
ENDED = -signal.SIGSYS


def known(*names):
    """Those of the names that this machine has."""
    from scmm_oci.tables import syscalls

    return [name for name in names if name in syscalls.numbers(os.uname().machine)]


def yaml(*names):
    return YAML.replace("CALLS", ", ".join(known(*names)))


def profile(*names):
    rule = {"names": known(*names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPROTO}
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory to run in, with policies that refuse mkdir, and a directory for temporary files."""
    for name in ("TMPDIR", "work"):
        (tmp_path / name).mkdir()
    work = tmp_path / "work"
    (work / "web.scmm.yaml").write_text(yaml("mkdir", "mkdirat"))
    (work / "other.scmm.yaml").write_text(yaml("getsid"))
    (work / "web.json").write_text(profile("mkdir", "mkdirat"))
    (work / "other.json").write_text(profile("getsid"))
    for path in work.iterdir():
        path.chmod(0o644)
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "TMPDIR"))
    monkeypatch.setenv("COLUMNS", "160")
    return work


def compiled(name):
    assert verbs.compile(["-i", f"{name}.scmm.yaml", "-o", f"{name}.scmm-pol", "--no-validate"]) == 0
    os.chmod(f"{name}.scmm-pol", 0o644)
    return f"{name}.scmm-pol"


def run(*words, command=COMMAND, **more):
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False, **more)


def mkdir(place, *words):
    """What mkdir does under these options: its exit status, and whether there is a directory."""
    done = run(*words, "--", "mkdir", "made")
    made = (place / "made").is_dir()
    if made:
        (place / "made").rmdir()
    assert not any((place.parent / "TMPDIR").iterdir())
    if done.returncode == 1:
        assert "Protocol error" in done.stderr
    return done.returncode, made


@pytest.mark.parametrize("form", ["scmm.yaml", "json", "scmm-pol"])
def test_a_policy_of_any_form_is_held(place, form):
    if form == "scmm-pol":
        compiled("web"), compiled("other")
    before = sorted(place.iterdir())
    assert mkdir(place, "-p", f"web.{form}") == (1, False)
    assert mkdir(place, "-p", f"other.{form}") == (0, True)
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("form", ["scmm.yaml", "json"])
def test_rules_for_one_run_stand_above_the_policy(place, form):
    assert mkdir(place, "-p", f"web.{form}", "--allow", MKDIR) == (0, True)
    assert mkdir(place, "-p", f"web.{form}", "--log", MKDIR) == (0, True)
    assert mkdir(place, "-p", f"web.{form}", "--kill", MKDIR) == (ENDED, False)
    # What else the policy says still holds.
    assert mkdir(place, "-p", f"web.{form}", "--kill", "getsid") == (1, False)


def test_a_policy_that_allows_nothing_goes_where_it_refuses_nothing(place):
    text = f'version: "1.0"\nsettings: {{default_action: deny, arch: {os.uname().machine}}}\nsyscalls: []\n'
    (place / "empty.scmm.yaml").write_text(text)
    done = run("-p", "empty.scmm.yaml", "--mode", "permissive", "--", "mkdir", "made")
    assert (done.returncode, (place / "made").is_dir()) == (0, True)
    assert "would refuse" in done.stderr and "allows-nothing" not in done.stderr
    asks = run("-p", "empty.scmm.yaml", "--mode", "ask", "--listener", "none.sock", "--", "true")
    told = "no monitor listens at none.sock: it is not there (start one: scmm-monitor --socket none.sock)"
    assert (asks.returncode, asks.stderr) == (125, f"error: --listener: {told}\n")
    refused = run("-p", "empty.scmm.yaml", "--", "mkdir", "other")
    assert refused.returncode == 125 and ".syscalls: is empty" in refused.stderr and not (place / "other").exists()


def test_rules_without_a_policy(place):
    assert mkdir(place, "--deny", MKDIR, "--errno", ANSWER) == (1, False)
    assert mkdir(place, "--deny", "getsid", "--errno", ANSWER) == (0, True)
    assert mkdir(place, "--kill", "@file-system", "--allow", MKDIR, "--allow", "openat,newfstatat,close,access")[0] < 0


def test_a_default_for_one_run(place):
    allowed = "@default,@basic-io,@io-event,@process,@signal,openat,newfstatat,statfs,access,fcntl,umask"
    refused = ["--default-action", "deny", "--errno", ANSWER, "--allow", allowed]
    assert mkdir(place, *refused) == (1, False)
    assert mkdir(place, *refused, "--allow", MKDIR) == (0, True)


def test_the_launcher_is_this_process(place):
    """A process of the same number: signals and the exit status are the program's."""
    script = "echo $$; exec sleep 60"
    with subprocess.Popen([*COMMAND, "-p", "web.scmm.yaml", "--", "sh", "-c", script], stdout=subprocess.PIPE) as child:
        assert int(child.stdout.readline()) == child.pid
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == -signal.SIGTERM
    assert run("-p", "web.scmm.yaml", "--", "sh", "-c", "exit 42").returncode == 42


def test_exit_statuses_of_our_own(place):
    (place / "text").write_text("no program\n")
    policy = ["-p", "web.scmm.yaml"]
    assert run(*policy, "--", "./text").returncode == 126
    assert run(*policy, "--", "./nothing").returncode == 127
    assert run(*policy, "--", "no-such-program-anywhere").returncode == 127
    done = run("-p", "absent.scmm.yaml", "--", "mkdir", "made")
    assert (done.returncode, (place / "made").exists()) == (125, False)
    assert "absent.scmm.yaml: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("{} --deny opennat -- true 2>/dev/full", 125),
        ("{} --nothing 2>/dev/full", 125),
        ("{} --help >/dev/full", 125),
        ("{} --print-launcher >/dev/full", 125),
        ("ulimit -v 60000; {} -p web.scmm.yaml -- true", 125),
        # What cannot be told is not passed over.
        ("{} -p other.json --log getsid -- true 2>/dev/full", 0),
        ("{} -p rich.json -- true 2>/dev/full", 125),
        ("{} -p rich.json -- true", 0),
        # Nobody wants to be told.
        ("{} -p rich.json -- true 2>&-", 0),
    ],
)
def test_our_own_status_whatever_goes_wrong(place, command, status):
    """1 would be the program's, or --check's "not all of it"."""
    rule = {"names": ["getsid"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_CHOWN"]}}
    (place / "rich.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    (place / "rich.json").chmod(0o644)
    assert run("-c", command.format(" ".join(COMMAND)), command=["sh"]).returncode == status


def test_a_defect_keeps_its_traceback(place, capsys, monkeypatch):
    def broken(*_):
        raise KeyError("a defect")

    monkeypatch.setattr(launcher, "become", broken)
    assert verbs.enforce(["-p", "web.scmm.yaml", "--", "true"]) == 125
    assert capsys.readouterr().err.endswith("KeyError: 'a defect'\n")


def ignored(status):
    (line,) = (line for line in status.splitlines() if line.startswith("SigIgn:"))
    return int(line.split()[1], 16)


def test_nothing_of_python_is_left_to_the_program(place):
    bit = 1 << (signal.SIGPIPE - 1)
    environment = {"PATH": os.environ["PATH"], "ONE": "x=y", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    script = "import os; print(open('/proc/self/status').read()); print(os.environ)"
    control = run("-c", script, command=[sys.executable], env=environment)
    assert ignored(control.stdout) & bit
    assert "LC_CTYPE" in control.stdout, "Python has put something into the environment here"
    done = run("-p", "web.scmm.yaml", "--", "cat", "/proc/self/status", env=environment)
    # What whoever runs the tests ignores is inherited, as from a shell; what Python ignores is not.
    given = ignored(Path("/proc/self/status").read_text()) & ~(bit | 1 << (signal.SIGXFSZ - 1))
    assert ignored(done.stdout) == given
    done = run("-p", "web.scmm.yaml", "--", "env", env=environment)
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == environment
    chosen = {**environment, "LC_CTYPE": "C.UTF-8"}
    done = run("-p", "web.scmm.yaml", "--", "env", env=chosen)
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == chosen


@pytest.mark.parametrize(("preserved", "left"), [(0, set()), (7, {"9"})])
def test_descriptors(place, preserved, left):
    """The program has what was left to it, and neither the policy nor the status."""
    script = 'exec "$@" 9>/dev/null 14>status.json'
    command = ["bash", "-c", script, "_", *COMMAND]
    words = ["-p", "web.scmm.yaml", "--status-fd=14", f"--preserve-fds={preserved}", "--"]
    done = run(*words, "bash", "-c", "ls -l /proc/$$/fd; :", command=command)
    found = {line.split()[-3] for line in done.stdout.splitlines()[1:]}
    # bash opens some of its own.
    assert found - {"0", "1", "2", "3", "255"} == left
    assert "scmm-pol" not in done.stdout
    assert json.loads((place / "status.json").read_text())["enforced"] == "fully"


def test_closed_streams(place):
    """The policy does not come to be a standard stream."""
    script = f"{' '.join(COMMAND)} -p web.scmm.yaml -- ls -l /proc/self/fd/ <&- 2>&-"
    done = run("-c", script, command=["sh"])
    assert done.returncode == 0, done.stdout
    assert "memfd" not in done.stdout
    assert "scmm-pol" not in done.stdout


def test_permissive(place):
    """Nothing is refused, and the report says what would be."""
    words = ["-p", "web.scmm.yaml", "--mode", "permissive", "--report", "report"]
    assert mkdir(place, *words) == (0, True)
    assert "mkdir" in (place / "report").read_text()
    assert mkdir(place, *words, "--allow", MKDIR) == (0, True)
    assert "mkdir" not in (place / "report").read_text()


def test_check(place):
    done = run("-p", "web.scmm.yaml", "--check", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert run("--deny", "mkdir", "--check").stdout != ""


def test_dashes_and_options_of_the_program_are_its_own(place):
    assert run("-p", "web.scmm.yaml", "--", "echo", "--check", "--", "-p").stdout == "--check -- -p\n"
    assert run("-p", "web.scmm.yaml", "echo", "-h").stdout == "-h\n"


def test_profiles_for_containers_are_for_one_with_what_engines_give(place):
    rule = {"names": known("mkdir", "mkdirat"), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPROTO}
    for capability, result in (("CAP_CHOWN", (1, False)), ("CAP_SYS_ADMIN", (0, True))):
        conditional = {**rule, "includes": {"caps": [capability]}}
        other = {"names": ["getsid"], "action": "SCMP_ACT_ERRNO"}
        document = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [conditional, other]}
        (place / "rich.json").write_text(json.dumps(document))
        (place / "rich.json").chmod(0o644)
        assert mkdir(place, "-p", "rich.json") == result
    (line,) = run("-p", "rich.json", "--", "true").stderr.splitlines()
    assert line.endswith("; `scmm import-profile` and `scmm compile` have options for it [default-capabilities]")


# Refused before anything is run: in this process, which would otherwise become the program.


@pytest.fixture
def refused(place, capsys, monkeypatch):
    """Runs the verb, which must refuse; its lines on stderr."""

    def become(*_):
        raise AssertionError("the program would be run")

    monkeypatch.setattr(launcher, "become", become)

    def run_it(*words):
        capsys.readouterr()
        assert verbs.enforce(list(words)) == 125
        said = capsys.readouterr()
        assert said.out == ""
        return said.err.splitlines()

    return run_it


def test_that_the_verb_would_run_it(place, monkeypatch):
    """The control of all that follows: with nothing wrong, the launcher is what comes next."""
    asked = []
    monkeypatch.setattr(launcher, "become", lambda *words: asked.append(words))
    words = ["--mode", "strict", "--preserve-fds", "2", "-v", "--", "true", "-x"]
    assert verbs.enforce(["-p", "web.scmm.yaml", *words]) == 0
    ((binary, arguments, data),) = asked
    assert binary == LAUNCHER
    assert arguments == ["--mode=strict", "--preserve-fds=2", "--verbose", "--", "true", "-x"]
    path = compiled("web")
    assert verbs.enforce(["-q", "--guard", "-p", path, "--", "true"]) == 0
    assert asked.pop(1) == (LAUNCHER, ["--mode=standard", f"--policy={path}", "--guard", "--quiet", "--", "true"], None)
    assert verbs.main(["enforce", "-p", path, "--check"]) == 0
    assert asked[1] == (LAUNCHER, ["--mode=standard", f"--policy={path}", "--check", "--"], None)
    # What is compiled for one run is what `scmm compile -o` writes.
    assert data == (place / path).read_bytes()


def test_everything_wrong_is_told_at_once(refused, place):
    (place / "bad.scmm.yaml").write_text('version: "1.0"\nsyscalls:\n  - {name: opennat, action: allow}\n')
    (place / "bad.scmm.yaml").chmod(0o644)
    words = [
        "-p",
        "bad.scmm.yaml",
        "--mode",
        "strikt",
        "--json",
        "--arch",
        "arm64",
        "--allow",
        "red",
        "--errno",
        "EFOO",
    ]
    lines = refused(*words, "--status-fd", "98765", "--preserve-fds", "-1")
    assert [line.removeprefix("error: ").partition(":")[0] for line in lines] == [
        "no program was given (scmm-enforce -p POLICY -- PROGRAM)",
        "--mode",
        "--json",
        "--arch",
        "--preserve-fds",
        "--status-fd",
        "bad.scmm.yaml",
        "--errno",
        "--allow",
    ]
    assert "did you mean 'strict'?" in lines[1]
    assert "line 3, column 12" in lines[6]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no policy was given (-p POLICY, or rules: --default-action, --allow, --deny, --kill, --log)"),
        (["--deny", "execve"], "command line: execve is answered deny"),
        (["--default-action", "kill"], "command line: is empty, and the default is to refuse"),
        (["-p", "web.scmm.yaml", "--kill", "exit_group"], "web.scmm.yaml: .syscalls: exit_group is answered kill"),
        (["-p", "web.scmm.yaml", "--status-fd", "0"], "--status-fd: '0' is not a descriptor from 1 on"),
        (["-p", "web.scmm.yaml", "--status-fd", "99999999999"], "--status-fd: '99999999999' is not a descriptor"),
        (["-p", "web.scmm.yaml", "--preserve-fds", "٣"], "--preserve-fds: '٣' is not a number of descriptors"),
        (["-p", "web.scmm.yaml", "--nothing"], "No such option '--nothing'"),
        (["-p", "web.scmm.yaml", "--report", "x"], "--report: goes with --mode permissive"),
        (["-p", "web.scmm.yaml", "-m", "permissive", "--check", "--report", "x"], "--report: goes with --mode permiss"),
        (["--print-launcher"], "--print-launcher: runs nothing (leave out the policy and the program)"),
        (["-p", "absent"], "absent: cannot be read: No such file or directory"),
        (["-p", ""], "cannot be read"),
        (["-p", "web.scmm.yaml", "--policy", "web.json"], "--policy: is given more than once (give one of them)"),
        (["-p", "web.scmm.yaml", "-m", "strict", "--mode", "strict"], "--mode: is given more than once"),
        (["--deny", "mkdir", "--errno", "EPERM", "--errno", "EROFS"], "--errno: is given more than once"),
        (
            ["--default-action", "ALLOW"],
            "--default-action: 'ALLOW' is not an action (did you mean 'allow'?; known: allow, log, ",
        ),
    ],
)
def test_what_is_refused(refused, words, said):
    assert any(said in line for line in refused(*words, "--", "true") if line)


def test_an_option_without_its_value_is_refused(refused):
    assert refused("-p")[-1] == "Error: Option '-p' requires an argument."


def test_rules_for_what_is_compiled_are_refused(refused, place):
    path = compiled("web")
    (line,) = refused("-p", path, "--allow", "mkdir", "--", "true")
    hint = "give the policy (.scmm.yaml) that it was made of"
    assert line == f"error: {path}: is compiled: its rules cannot be changed any more ({hint})"
    done = run("-p", path, "--allow", MKDIR, "--", "mkdir", "made")
    assert (done.returncode, (place / "made").exists()) == (125, False)


def test_whose_the_policy_is(refused, place, monkeypatch):
    """The launcher's rules hold for all forms."""
    web = place / "web.scmm.yaml"

    def line_for(path):
        (line,) = refused("-p", str(path), "--", "true")
        return line.removeprefix(f"error: {path}: ")

    (place / "link.scmm.yaml").symlink_to(web)
    assert line_for("link.scmm.yaml") == "is a symbolic link (give the file itself)"
    os.mkfifo(place / "fifo")
    assert line_for("fifo") == "is no regular file"
    assert line_for(place) == "is no regular file"
    assert line_for("/dev/null") == "is no regular file"
    for mode in (0o664, 0o646):
        web.chmod(mode)
        assert line_for(web) == "may be written by others (take that right away: chmod go-w)"
    web.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(web, 4711, 4711)
    else:
        monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert line_for(web) == "belongs to another user, who could change it (make a copy of it)"


def test_files_of_another_kind(refused, place):
    (place / "a.scmm-cap").write_text('{"format": "scmm-capture/1"}')
    (place / "empty").write_text("")
    (place / "large.json").write_text('{"defaultAction": "' + "x" * (2 << 20))
    for name in ("a.scmm-cap", "empty", "large.json"):
        (place / name).chmod(0o644)
    (line,) = refused("-p", "a.scmm-cap", "--", "true")
    assert line == "error: a.scmm-cap: is a capture, not a policy (make a policy of it first: `scmm extract`)"
    (line,) = refused("-p", "empty", "--", "true")
    assert line == "error: empty: is empty, and no policy"
    (line,) = refused("-p", "large.json", "--", "true")
    assert line == "error: large.json: is larger than 1048576 bytes"


def test_the_launcher_is_where_it_is_said_to_be(place, capsys):
    assert verbs.enforce(["--print-launcher"]) == 0
    path = capsys.readouterr().out.removesuffix("\n")
    assert path == str(LAUNCHER)
    done = run("--help", command=[path])
    assert done.returncode == 0
    assert done.stdout.startswith("usage: scmm-enforce")
    for machine in ("x86_64", "aarch64"):
        assert verbs.enforce(["--print-launcher", "--arch", machine]) == 0
        assert capsys.readouterr().out.endswith(f"/scmm-enforce.{machine}\n")
    assert verbs.enforce(["--print-launcher", "--arch", "s390x"]) == 125
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: there is no launcher for s390x (there are launchers for aarch64, x86_64)\n"


def test_help_says_how_it_ends(capsys):
    assert verbs.main(["enforce", "--help"]) == 0
    text = capsys.readouterr().out
    assert "125 if scmm-enforce itself fails, 126 if the program cannot be executed, 127 if it is" in text
