"""scmm compile: outputs, what is refused and told, and that the same policy gives the same bytes everywhere."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from support import need

from scmm_oci.cli.main import main
from scmm_oci.compiled import bpf, opinion, polfile
from scmm_oci.compiled.filter import build
from scmm_oci.oci import rich, seccomp
from scmm_oci.policy.lint import RULES, Severity

FORMS = {
    "-o": "p.scmm-pol",
    "--oci": "oci.json",
    "--docker": "docker.json",
    "--podman": "podman.json",
    "--spo": "spo.yaml",
    "--systemd": "50-scmm.conf",
    "--crun-bpf": "bpf.txt",
}
EVERY = [word for pair in FORMS.items() for word in pair]
PLAIN = """\
version: "1.0"
metadata: {name: web}
syscalls:
  - {names: [read, write, execve, exit, exit_group, rt_sigreturn, restart_syscall, brk, mmap, munmap], action: allow}
"""
# Has something that each target cannot hold.
FULL = """\
version: "1.0"
metadata: {name: Große Aufgabe}
settings: {default_errno: EACCES, run_as: {uid: 33}, bad_arch_action: deny}
syscalls:
  - {names: [read, write, execve, exit_group, rt_sigreturn, mmap, munmap], action: allow}
  - {name: ptrace, action: trap}
  - name: clone
    action: allow
    constraints: [{arg: "0", type: flags, allowed: [CLONE_VM, CLONE_FS, CLONE_THREAD]}]
  - {name: bpf, action: allow, includes: {capabilities: [CAP_SYS_ADMIN]}}
  - {name: quotactl, action: log, excludes: {architectures: [arm64]}}
filesystem:
  rules:
    - {path: /srv/**, access: [read_file, read_dir]}
network:
  inbound: [{protocol: tcp, ports: [80]}]
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="p.scmm.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main(["compile", "-i", "p.scmm.yaml", *map(str, words)])
        return code, capsys.readouterr()

    return call


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_all_targets_at_once(work, run):
    folder = work(PLAIN)
    code, said = run(*EVERY)
    assert code == 0
    assert names(folder) == sorted([*FORMS.values(), "p.scmm.yaml"])
    assert {(folder / name).stat().st_mode & 0o777 for name in FORMS.values()} == {0o644}
    profile = seccomp.parse((folder / "oci.json").read_bytes())
    for form in ("docker", "podman"):
        assert rich.parse((folder / f"{form}.json").read_bytes()).default_action == profile.default_action
    spec = yaml.safe_load((folder / "spo.yaml").read_text())["spec"]
    assert spec["syscalls"] == json.loads((folder / "oci.json").read_text())["syscalls"]
    assert "SystemCallErrorNumber=EPERM" in (folder / "50-scmm.conf").read_text().splitlines()
    text = (folder / "bpf.txt").read_text()
    assert text.count("\n") == 1 and bpf.problems(bpf.decode(base64.b64decode(text))) == []
    file = polfile.read((folder / "p.scmm-pol").read_bytes())
    assert [one.arch for one in file.filters] == ["x86_64"]
    assert file.metadata.policy_digest == hashlib.sha256(PLAIN.encode()).hexdigest()
    for name in FORMS.values():
        assert sum(line.startswith(f"{name}: 10 calls for the program") for line in said.err.splitlines()) == 1
    assert said.out == ""


def test_the_result_as_json(work, run):
    work(PLAIN)
    code, said = run("--oci", "oci.json", "--json")
    before = json.loads(said.out)
    assert code == 0
    assert (before["name"], before["profile"], before["program"]) == ("web", "oci.json", 10)
    assert before["profiles"] == [{"form": "oci", "profile": "oci.json", "program": 10, "floor": before["floor"]}]
    code, said = run(*EVERY, "--json")
    found = json.loads(said.out)
    # The first profile's members are the whole's, whatever else is made.
    assert {key: found[key] for key in ("name", "profile", "program", "floor", "floor_entries")} == {
        key: before[key] for key in ("name", "profile", "program", "floor", "floor_entries")
    }
    forms = {one["form"]: one for one in found["profiles"]}
    assert list(forms) == ["oci", "docker", "podman", "spo", "systemd", "crun-bpf", "scmm-pol"]
    assert forms["spo"]["object"] == "web"
    assert forms["crun-bpf"]["annotation"] == "run.oci.seccomp_bpf_data"
    assert forms["crun-bpf"]["instructions"] > forms["scmm-pol"]["filters"][0]["instructions"] > 5
    assert forms["scmm-pol"]["filters"][0]["arch"] == "x86_64"
    run("-o", "only.scmm-pol")
    code, said = run("-o", "only.scmm-pol", "--json")
    assert json.loads(said.out)["profile"] == "only.scmm-pol"


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_written_unless_everything_can_be(form, work, run):
    folder = work(PLAIN)
    (folder / "taken").mkdir()
    words = [word for pair in (FORMS | {form: "taken"}).items() for word in pair]
    code, said = run(*words)
    assert code == 1
    assert "taken exists and is not a regular file" in said.err
    assert names(folder) == ["p.scmm.yaml", "taken"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no output was asked for (give -o, --oci, --docker, --podman, --spo, --systemd or --crun-bpf)"),
        (["-o", "p.scmm.yaml"], "is an input too"),
        (["--spo", "x", "--systemd", "x"], "is the name of two outputs"),
        (["--crun-bpf", ""], "an output has an empty name"),
        (["-o", "x", "--arch", "vax"], "--arch: 'vax' is not a known architecture"),
        (["-o", "x", "--oci", "y", "--arch", "x86_64", "--arch", "aarch64"], "--arch: several go with -o only"),
        (["--systemd", "x", "--arch", "x86_64", "--arch", "arm64"], "--arch: several go with -o only"),
        (["--docker", "x", "--kernel", "6.1"], "--kernel: goes with --oci, -o, --spo, --systemd and --crun-bpf"),
    ],
)
def test_words_that_do_not_go_together(words, message, work, run):
    folder = work(PLAIN)
    code, said = run(*words)
    assert code == 2
    assert message in said.err
    assert names(folder) == ["p.scmm.yaml"]


# What is wrong with a policy

BAD = """\
version: "1.0"
settings: {default_errno: EWHAT, arch: x86_63}
syscalls:
  - {name: opennat, action: allow}
  - {name: read, action: alow}
  - {name: write, action: deny, errno: "4096"}
  - {name: dup, action: allow}
  - {name: dup, action: deny}
  - name: socket
    action: allow
    constraints:
      - {arg: "6", type: integer, allowed: ["1"]}
      - {arg: "0", type: integer, op: about, value: 1}
"""
PLACES = {
    ".settings.default_errno": "line 2",
    ".settings.arch": "line 2",
    ".syscalls[0].name": "line 4",
    ".syscalls[1].action": "line 5",
    ".syscalls[2].errno": "line 6",
    ".syscalls[4].name": "line 8",
    ".syscalls[5].constraints[0].arg": "line 12",
    ".syscalls[5].constraints[1].op": "line 13",
}


@pytest.mark.parametrize("options", [["--oci", "x"], ["-o", "x", "--no-validate"], ["--systemd", "x", "--json"]])
def test_all_that_is_wrong_is_told_at_once_with_places(options, work, run):
    folder = work(BAD)
    code, said = run(*options)
    assert code == 2
    lines = said.err.splitlines()
    assert all(line.startswith("error: p.scmm.yaml: line ") for line in lines)
    for place, line in PLACES.items():
        assert any(f" {line}, column " in one and f", {place}: " in one for one in lines), place
    # What else is told is that a constraint without a comparison is none.
    rest = [one for one in lines if not any(f", {place}: " in one for place in PLACES)]
    assert all("line 13, " in one and ".syscalls[5].constraints[1]" in one for one in rest)
    assert "did you mean 'openat'?" in said.err and "did you mean 'allow'?" in said.err
    assert ".syscalls[3] already" in said.err
    assert names(folder) == ["p.scmm.yaml"] and said.out == ""


def test_what_every_program_needs_must_not_be_refused(work, run):
    folder = work(
        'version: "1.0"\nsyscalls:\n  - {name: read, action: allow}\n  - {name: execve, action: kill}\n'
        "  - {name: exit_group, action: deny}\n  - {name: rt_sigreturn, action: deny, errno: ENOSYS}\n"
    )
    for name in FORMS.items():
        for more in ([], ["--no-validate"]):
            code, said = run(*name, *more)
            assert code == 2
            for call, action in (("execve", "kill"), ("exit_group", "deny"), ("rt_sigreturn", "deny")):
                assert f".syscalls: {call} is answered {action}" in said.err
    assert names(folder) == ["p.scmm.yaml"]
    # Merely not listed, they are added, and that is said.
    work('version: "1.0"\nsyscalls:\n  - {name: read, action: allow}\n')
    code, said = run(*EVERY)
    assert code == 0 and "execve" in said.err and said.err.count("[needed-added]") == 1
    for rule in seccomp.parse((folder / "oci.json").read_bytes()).syscalls[:1]:
        assert {"read", "execve", "exit_group", "rt_sigreturn"} <= set(rule.names)


def test_problems_of_several_targets_are_told_at_once(work, run):
    """A number that the operator's objects cannot hold, and a constraint that no filter can."""
    constraint = '{arg: "0", type: integer, op: ge, value: 0xfffffffffffffff0}'
    path = '{arg: "1", type: path, allowed: ["/etc/passwd"]}'
    folder = work(f"{PLAIN}  - {{name: dup, action: allow, constraints: [{constraint}]}}\n")
    code, said = run(*EVERY)
    assert code == 2 and said.err.count("error: ") == 1 and "SeccompProfile" in said.err and "dup" in said.err
    without = [word for pair in FORMS.items() if pair[0] != "--spo" for word in pair]
    assert run(*without)[0] == 0
    for name in FORMS.values():
        (folder / name).unlink(missing_ok=True)
    work(f"{PLAIN}  - {{name: openat, action: allow, constraints: [{path}]}}\n")
    code, said = run(*EVERY)
    assert code == 2 and "no filter can read" in said.err
    assert names(folder) == ["p.scmm.yaml"]


# Lint, and --strict


def test_lint_is_told_in_short(work, run):
    more = "  - {names: [bpf, kexec_load, init_module, perf_event_open, mount, setns], action: allow}\n"
    folder = work(PLAIN + more)
    code, said = run("--oci", "oci.json", "--json")
    assert code == 0
    dangers = [line for line in said.err.splitlines() if line.endswith("[dangerous-call]")]
    assert len(dangers) == 1 and "danger: syscalls: " in dangers[0] and " more: " in dangers[0]
    found = json.loads(said.out)
    assert {one["place"] for one in found["lint"] if one["id"] == "dangerous-call"} >= {
        "syscalls: bpf",
        "syscalls: mount",
    }
    notes = {name for name, rule in RULES.items() if rule.severity is Severity.NOTE}
    assert not any(f"[{name}]" in said.err for name in notes)
    written = (folder / "oci.json").read_bytes()
    code, said = run("--oci", "oci.json", "--json", "--no-validate")
    assert code == 0 and "danger" not in said.err
    assert json.loads(said.out)["lint"] is None
    assert (folder / "oci.json").read_bytes() == written


@pytest.mark.parametrize(
    ("form", "held"),
    [
        ("-o", set()),
        ("--oci", {"not-in-profile"}),
        ("--docker", {"not-in-profile"}),
        ("--podman", {"not-in-profile"}),
        ("--spo", {"not-in-profile", "high-bit-not-held", "default-number-not-held"}),
        ("--systemd", {"not-in-unit", "arguments-not-held", "action-not-held", "bad-arch-not-held"}),
        ("--crun-bpf", {"not-in-profile"}),
    ],
)
def test_strict(form, held, work, run):
    folder = work(FULL)
    code, said = run(form, "out")
    assert code == 0 and (folder / "out").exists()
    assert held <= {line.rsplit("[", 1)[-1].rstrip("]") for line in said.err.splitlines()}
    (folder / "out").unlink()
    code, said = run(form, "out", "--strict", "--json")
    if not held:
        assert code == 0 and (folder / "out").exists()
        return
    assert code == 1 and said.out == ""
    assert names(folder) == ["p.scmm.yaml"]
    (error,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    for one in held:
        assert one in error and f"[{one}]" in said.err


def test_strict_writes_what_is_held_in_full(work, run):
    work(PLAIN)
    code, said = run(*EVERY, "--strict")
    assert code == 0, said.err
    assert json.loads(run("--oci", "again.json", "--strict", "--json")[1].out)["findings"] == []


# Architectures and containers


def test_the_architecture_is_chosen_for_every_target(work, run):
    folder = work(PLAIN + "  - {names: [open, openat], action: allow}\n")
    code, said = run(*EVERY, "--arch", "arm64")
    assert code == 0 and "aarch64 has no open" in said.err
    profile = seccomp.parse((folder / "oci.json").read_bytes())
    assert profile.architectures == ("SCMP_ARCH_AARCH64",)
    allowed = {name for rule in profile.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}
    assert "openat" in allowed and "open" not in allowed
    for form in ("docker", "podman"):
        assert rich.parse((folder / f"{form}.json").read_bytes()).architectures == ("SCMP_ARCH_AARCH64",)
    assert yaml.safe_load((folder / "spo.yaml").read_text())["spec"]["architectures"] == ["SCMP_ARCH_AARCH64"]
    lines = (folder / "50-scmm.conf").read_text().splitlines()
    assert "SystemCallArchitectures=arm64" in lines
    assert not any(" open " in f"{line} " for line in lines)
    assert [one.arch for one in polfile.read((folder / "p.scmm-pol").read_bytes()).filters] == ["aarch64"]
    several = run("-o", "all.scmm-pol", *(word for arch in ("s390x", "x86_64", "riscv64") for word in ("--arch", arch)))
    assert several[0] == 0
    file = polfile.read((folder / "all.scmm-pol").read_bytes())
    assert {one.arch for one in file.filters} == {"s390x", "x86_64", "riscv64"}


@pytest.mark.parametrize("form", ["-o", "--oci", "--spo", "--systemd", "--crun-bpf"])
def test_the_container_is_chosen_for_every_target(form, work, run):
    folder = work(FULL)
    code, said = run(form, "without")
    assert code == 0 and "[default-capabilities]" in said.err
    code, said = run(form, "with", "--cap-add", "SYS_ADMIN")
    assert code == 0 and "[default-capabilities]" not in said.err
    assert (folder / "without").read_bytes() != (folder / "with").read_bytes()
    run(form, "dropped", "--cap-drop", "SYS_ADMIN")
    assert (folder / "without").read_bytes() == (folder / "dropped").read_bytes()
    if form == "--systemd":
        assert b"bpf" in (folder / "with").read_bytes() and b"bpf" not in (folder / "without").read_bytes()


def test_the_floor_is_for_what_runtimes_load(work, run):
    folder = work(PLAIN)
    words = [word for pair in FORMS.items() for word in pair]
    run(*words, "--runtime", "crun")
    crun = {name: (folder / name).read_bytes() for name in FORMS.values()}
    run(*words, "--runtime", "runc")
    runc = {name: (folder / name).read_bytes() for name in FORMS.values()}
    assert {name for name in crun if crun[name] == runc[name]} == {"p.scmm-pol", "50-scmm.conf"}


def test_kubelets_are_spoken_of(work, run):
    work(
        'version: "1.0"\nsettings: {listener: {path: /run/agent.sock}}\nsyscalls:\n'
        "  - {name: execve, action: allow}\n  - {name: bpf, action: notify}\n"
    )
    code, said = run("--oci", "oci.json", "--no-validate")
    assert code == 0 and "the action notify and a listener" in said.err and "[kep-6061]" in said.err
    work(PLAIN)
    assert "[kep-6061]" not in run("--oci", "oci.json")[1].err


# The same bytes everywhere

PLACES_TO_BE = (
    {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"},
    {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"},
    {"LC_ALL": "C.UTF-8", "TZ": "America/St_Johns", "PYTHONHASHSEED": "random"},
)


def test_the_same_policy_gives_the_same_bytes_everywhere(work):
    folder = work(FULL)
    seen = []
    for number, environment in enumerate(PLACES_TO_BE):
        there = folder / f"there-{number}"
        there.mkdir()
        (there / "p.scmm.yaml").write_text(FULL)
        words = ["compile", "-i", "p.scmm.yaml", *EVERY, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "scmm_oci.cli.main", *words],
            cwd=there,
            env={**os.environ, **environment},
            capture_output=True,
            check=True,
        )
        seen.append([done.stdout, *((there / name).read_bytes() for name in FORMS.values())])
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) == len(seen[0])
    # Control: another policy gives other bytes in each.
    work(FULL.replace("mmap, munmap", "mmap, munmap, mincore"))
    assert main(["compile", "-i", "p.scmm.yaml", *EVERY]) == 0
    assert all((folder / name).read_bytes() not in seen[0] for name in FORMS.values())


@pytest.mark.parametrize(("option", "module"), [("-o", "policy_file"), ("--crun-bpf", "crun")])
def test_a_filter_that_libseccomp_contradicts_is_not_written(work, run, monkeypatch, option, module):
    need("KERNEL", opinion.unavailable())
    folder = work(PLAIN)
    code, said = run(option, "good", "--json")
    assert code == 0 and "as libseccomp" in said.err
    (profile,) = json.loads(said.out)["profiles"]
    assert profile["compared"]["calls"] > 1000

    def broken(plan):
        program = list(build(plan))
        at = next(index for index, one in enumerate(program) if one.code == bpf.RET and one.k == bpf.RET_ALLOW)
        program[at] = replace(program[at], k=bpf.RET_LOG)
        return tuple(program)

    monkeypatch.setattr(f"scmm_oci.compiled.{module}.build", broken)
    code, said = run(option, "bad")
    assert code == 1 and "libseccomp" in said.err and "x86_64 read" in said.err.replace("(", "").replace(")", "")
    assert names(folder) == ["good", "p.scmm.yaml"]


def test_where_libseccomp_is_missing_that_is_said(work, run, monkeypatch):
    work(PLAIN)
    monkeypatch.setattr(opinion, "unavailable", lambda: "libseccomp is not installed")
    code, said = run("-o", "p.scmm-pol", "--json")
    assert code == 0 and said.err.count("[not-compared]") == 1 and "as libseccomp" not in said.err
    assert json.loads(said.out)["profiles"][0]["compared"] is None
