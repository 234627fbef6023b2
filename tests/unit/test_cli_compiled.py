"""``scmm disasm``, ``scmm explain`` and ``scmm verify`` from the outside: texts, JSON, exit codes."""

import json
import subprocess
import sys

import pytest
from samples import app, argument, as_bytes, call, file_use, socket_use

from scmm_oci.cli.main import disasm, explain, main, verify
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Instruction
from scmm_oci.compiled.filter import build, of_policy, permissive
from scmm_oci.compiled.needed import completed
from scmm_oci.compiled.polfile import write
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy import document
from scmm_oci.tables.arch import Arch

POLICY = """\
version: "1.0"
metadata: {name: web}
settings: {default_errno: EACCES}
syscalls:
  - {names: [read, write], action: allow, origin: {count: 45, programs: [/usr/sbin/nginx]}}
  - name: socket
    action: allow
    constraints: [{arg: "0", type: integer, allowed: [AF_INET]}]
  - {name: "@file-system", action: allow}
  - {name: getpid, action: allow}
filesystem:
  rules: [{path: /srv/a, access: [read_file]}]
network:
  inbound: [{protocol: tcp, ports: [80]}]
"""
PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
}


def recording(**changes):
    value = app(
        call("read", 30),
        call("socket", 4),
        call("getpid"),
        arguments=[argument("socket", 0, 2)],
        files=[file_use("/srv/a", access=["read_file"], programs=[])],
        sockets=[socket_use("bind", "0.0.0.0", 80, programs=[])],
    )
    return as_bytes({**value, **changes})


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    policy = document.parse(POLICY.encode())
    (tmp_path / "web.scmm.yaml").write_text(POLICY)
    (tmp_path / "web.json").write_text(json.dumps(PROFILE))
    (tmp_path / "web.scmm-cap").write_bytes(recording())
    (tmp_path / "web.scmm-pol").write_bytes(write(policy_file(policy, arches=[Arch.X86_64, Arch.AARCH64])[0]))
    return tmp_path


def program(text=POLICY):
    return build(of_policy(completed(document.parse(text.encode()))[0]))


# disasm


def test_a_policy_is_compiled_and_told(files, capsys):
    assert disasm(["web.scmm.yaml"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == "# web.scmm.yaml, x86_64" and len(lines) == len(program()) + 1
    assert lines[1] == "   0  20 00 00 00000004  load arch"
    assert "(socket) goto" in told.out and "(AF_INET)" in told.out and "; x86_64" in told.out
    assert "needed-added" in told.err and f"x86_64: {len(program())} instructions: " in told.err


def test_json_has_every_instruction(files, capsys):
    assert disasm(["web.scmm.yaml", "--json", "--permissive"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["filters"]
    twin = build(permissive(of_policy(completed(document.parse(POLICY.encode()))[0])))
    assert [Instruction(i["code"], i["k"], i["jt"], i["jf"]) for i in one["instructions"]] == list(twin)
    assert "return LOG(1)" in [i["text"] for i in one["instructions"]] and one["arch"] == "x86_64"


def test_compiled_policies_have_several_filters(files, capsys):
    assert disasm(["web.scmm-pol"]) == 0
    out = capsys.readouterr().out
    assert "# web.scmm-pol, x86_64\n" in out and "# web.scmm-pol, aarch64\n" in out
    assert disasm(["web.scmm-pol", "--arch", "aarch64"]) == 0
    out = capsys.readouterr().out
    assert "aarch64" in out and "x86_64" not in out
    assert disasm(["web.scmm-pol", "--arch", "riscv64"]) == 2
    assert "web.scmm-pol: has no filter for riscv64 (it has: x86_64, aarch64)" in capsys.readouterr().err
    # A policy is made for the architecture that is asked for.
    assert disasm(["web.scmm.yaml", "--arch", "riscv64"]) == 0
    assert "(riscv64)" in capsys.readouterr().out


def test_profiles_and_raw_filters(files, capsys):
    assert disasm(["web.json"]) == 0
    assert "(read) goto" in capsys.readouterr().out
    for order in ("little", "big"):
        (files / "raw").write_bytes(bpf.encode(program(), order))
        assert disasm(["raw", "--raw", "--byte-order", order, "--arch", "x86_64"]) == 0
        assert capsys.readouterr().out.count("\n") == len(program()) + 1
    assert disasm(["raw", "--raw"]) == 2  # in the other order
    assert "error: raw: [0]: has the code 0x2000, which no seccomp filter may have" in capsys.readouterr().err
    (files / "raw").write_bytes(bpf.encode(program())[:-3])
    assert disasm(["raw", "--raw"]) == 2
    assert "are no whole number of instructions" in capsys.readouterr().err
    (files / "raw").write_bytes(b"")
    assert disasm(["raw", "--raw"]) == 2
    assert disasm(["raw", "--raw", "--permissive"]) == disasm(["web.json", "--byte-order", "big"]) == 2
    assert disasm(["web.scmm-cap"]) == 2
    assert "is a capture, not a policy" in capsys.readouterr().err


def test_the_same_text_whatever_the_hash_seed(files):
    outs = set()
    for seed in ("0", "1", "77"):
        command = [sys.executable, "-m", "scmm_oci.cli.main", "disasm", "web.scmm.yaml"]
        env = {"PYTHONHASHSEED": seed, "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        outs.add(subprocess.run(command, capture_output=True, check=True, env=env).stdout)
    assert len(outs) == 1 and b"load nr" in outs.pop()


# explain


def told(words, capsys):
    assert explain(words) == 0
    return capsys.readouterr().out


def test_the_rule_and_its_line_are_told(files, capsys):
    out = told(["write", "-p", "web.scmm.yaml"], capsys)
    assert "write: number 1 of x86_64" in out and "verdict  is allowed (ALLOW)" in out
    assert "decided  line 5, .syscalls[0].names[1]: write: allow" in out
    assert "from     seen 45× in app of main by /usr/sbin/nginx" in out
    assert "cost     none: the kernel knows that it is allowed (before Linux 5.11 " in out
    out = told(["socket", "AF_INET", "-p", "web.scmm.yaml"], capsys)
    assert "decided  line 6, .syscalls[1]: socket: allow if argument 0 is AF_INET" in out
    assert "instructions each time; it looks at argument 0" in out and "for example" not in out
    out = told(["socket", "-p", "web.scmm.yaml"], capsys)
    assert "for example socket(AF_INET)" in out and "verdict  is not made, and answers EACCES" in out
    assert "decided  no rule: the default" in out
    out = told(["mkdir", "-p", "web.scmm.yaml"], capsys)
    assert "decided  line 9, .syscalls[2]: @file-system: allow" in out and "from     the group @file-system" in out


def test_refusals_that_a_profile_for_runtimes_does_not_have(files, capsys):
    assert "\n  floor    " in told(["prctl", "-p", "web.scmm.yaml"], capsys)
    assert "\n  floor    " not in told(["reboot", "-p", "web.scmm.yaml"], capsys)
    assert "\n  floor    " not in told(["prctl", "-p", "web.scmm-pol"], capsys)
    # Runtimes map memory, but none to be executed, once a policy says which; and what it refuses by a rule stays so.
    mmap = '  - {name: mmap, action: allow, constraints: [{arg: "2", type: flags, allowed: [PROT_READ]}]}\n'
    rules = f"{mmap}  - {{name: prctl, action: deny}}\n  - {{name: getpid"
    (files / "mmap.scmm.yaml").write_text(POLICY.replace("  - {name: getpid", rules))
    assert "\n  floor    " in told(["mmap", "0", "1", "PROT_WRITE", "-p", "mmap.scmm.yaml"], capsys)
    assert "\n  floor    " not in told(["mmap", "0", "1", "PROT_WRITE|PROT_EXEC", "-p", "mmap.scmm.yaml"], capsys)
    assert "\n  floor    " not in told(["prctl", "-p", "mmap.scmm.yaml"], capsys)


def test_negative_arguments_are_no_options(files, capsys):
    out = told(["socket", "-1", "--json", "-p", "web.scmm.yaml"], capsys)
    (outcome,) = json.loads(out)["outcomes"]
    assert outcome["args"][0] == 0xFFFFFFFF and outcome["returns"] == "ERRNO(13 EACCES)"
    assert told(["-1", "-p", "web.scmm.yaml"], capsys).startswith("a number without a name: number 0xffffffff")


def test_json_of_an_explanation(files, capsys):
    found = json.loads(told(["socket", "-", "SOCK_STREAM", "-p", "web.scmm.yaml", "--json"], capsys))
    assert found["call"] == {"name": "socket", "nr": 41, "arch": "x86_64", "args": [None, 1]}
    assert found["cached"] is found["floor"] is False
    refused, allowed = found["outcomes"]
    assert (refused["source"], refused["place"]) == ("default", None)
    assert (allowed["source"], allowed["place"]) == ("rule", "line 6, .syscalls[1]")
    assert allowed["args"][:2] == [2, 1] and allowed["executed"][0] > 3 and allowed["looks"] == [0]


def test_profiles_and_compiled_policies_are_asked(files, capsys):
    assert "decided  .syscalls[0]: read: SCMP_ACT_ALLOW" in told(["read", "-p", "web.json"], capsys)
    assert "verdict  ends the thread" in told(["read", "--arch", "x86", "-p", "web.json"], capsys)
    out = told(["socket", "AF_UNIX", "-p", "web.scmm-pol"], capsys)
    assert "answers EACCES" in out and "a compiled filter does not say" in out
    assert "number 198 of aarch64" in told(["socket", "AF_UNIX", "-p", "web.scmm-pol", "--arch", "aarch64"], capsys)
    assert "ends the process" in told(["read", "-p", "web.scmm-pol", "--arch", "x32"], capsys)
    assert explain(["read", "-p", "web.scmm-pol", "--arch", "s390x"]) == 2
    (files / "rich.json").write_text(json.dumps({**PROFILE, "archMap": []}))
    assert explain(["read", "-p", "rich.json"]) == 2
    assert "in Docker's or podman's form (make a policy of it first: `scmm import-profile`)" in capsys.readouterr().err


def test_rules_that_depend_on_the_container(files, capsys):
    mount = "  - {name: mount, action: allow, includes: {capabilities: [CAP_SYS_ADMIN]}}\n"
    chown = "  - {name: reboot, action: allow, includes: {capabilities: [CAP_CHOWN]}}\n"
    text = POLICY.replace("  - {name: getpid", f"{mount}{chown}  - {{name: getpid")
    (files / "some.scmm.yaml").write_text(text.replace('"@file-system"', "mkdir"))
    assert explain(["mount", "-p", "some.scmm.yaml"]) == 0
    found = capsys.readouterr()
    assert "no rule: the default" in found.out and "[one-container]" in found.err
    assert "line 11, .syscalls[4]: reboot: allow" in told(["reboot", "-p", "some.scmm.yaml"], capsys)


def test_bad_questions_are_told_all_at_once(files, capsys):
    assert explain(["sockett", "1", "2", "3", "4", "5", "6", "7", "-p", "web.scmm.yaml"]) == 2
    err = capsys.readouterr().err
    assert "'sockett' is not a system call of x86_64 (did you mean 'socket'?)" in err and "7 arguments" in err
    assert explain(["socket", "AF_INTE", "-p", "web.scmm.yaml"]) == 2
    assert "did you mean 'AF_INET'?" in capsys.readouterr().err
    assert explain(["socket"]) == explain(["socket", "-p", "none"]) == explain(["socket", "-p", "web.scmm-cap"]) == 2


# verify


def test_a_policy_is_proven(files, capsys):
    for path in ("web.scmm.yaml", "web.scmm-pol"):
        assert verify([path, "--against", "web.scmm-cap"]) == 0
        found = capsys.readouterr()
        assert f"{path}: allows all that was recorded" in found.err
        assert "recorded, and refused" not in found.out
        assert "because every program needs them: 5\n  execve, exit, exit_group" in found.out
        assert "in 4 calls" in found.out and "31 calls without the filter" in found.out


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("names: [read, write]", "names: [write]", ["syscalls", "read", "", "30"]),
        ("AF_INET", "AF_UNIX", ["syscalls", "socket", "argument 0: AF_INET", "4"]),
        ("path: /srv/a", "path: /srv/b", ["filesystem", "/srv/a", "read_file (open)", "1"]),
        ("ports: [80]", "ports: [81]", ["network", "inbound tcp 80", "0.0.0.0", "1"]),
    ],
)
def test_a_piece_that_is_taken_out_is_named(files, capsys, before, after, line):
    # Nothing beside may allow the call.
    text = POLICY.replace('"@file-system"', "mkdir").replace(before, after)
    assert text != POLICY and before in POLICY
    (files / "less.scmm.yaml").write_text(text)
    (files / "less.scmm-pol").write_bytes(write(policy_file(document.parse(text.encode()))[0]))
    for path in ("less.scmm.yaml", "less.scmm-pol"):
        assert verify([path, "--against", "web.scmm-cap"]) == 1
        found = capsys.readouterr()
        assert "recorded, and refused: 1\n" in found.out and f"{path}: 1 thing that was recorded" in found.err
        row = found.out.splitlines()[2].split()
        assert row == " ".join(line).split()
        assert verify([path, "--against", "web.scmm-cap", "--json"]) == 1
        report = json.loads(capsys.readouterr().out)
        assert [list(map(str, one.values())) for one in map(_ordered, report["refused"])] == [line]
        assert report["allowed"] is False


def _ordered(one):
    return {key: one[key] for key in ("section", "what", "detail", "count")}


def test_several_captures_and_json(files, capsys):
    (files / "other.scmm-cap").write_bytes(recording(name="other"))
    assert verify(["web.scmm.yaml", "--against", "web.scmm-cap", "other.scmm-cap", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    cost = report["cost"]
    assert report["allowed"] is True and (cost["cached"], cost["running"]) == (62, 8)
    (socket,) = cost["calls"]
    assert (socket["name"], socket["count"]) == ("socket", 8) and socket["total"] == socket["mean"] * 8 == cost["total"]
    assert "write" in report["beyond"]["calls"] and report["beyond"]["ports"] == []
    assert verify(["web.scmm.yaml", "--against", "web.scmm-cap", "--against", "other.scmm-cap", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_what_cannot_be_verified(files, capsys):
    assert verify(["web.scmm.yaml"]) == 2 and "--against" in capsys.readouterr().err
    assert verify(["web.json", "--against", "web.scmm-cap"]) == 2
    assert "is a seccomp profile, not a policy" in capsys.readouterr().err
    assert verify(["web.scmm.yaml", "--against", "none.scmm-cap"]) == 2
    assert verify(["web.scmm.yaml", "--against", "web.scmm.yaml"]) == 2
    (files / "arm.scmm-cap").write_bytes(as_bytes(app(host={"kernel": "6", "machine": "riscv64"})))
    capsys.readouterr()
    assert verify(["web.scmm-pol", "--against", "arm.scmm-cap"]) == 2
    assert "captures are of riscv64, and there is no filter for that" in capsys.readouterr().err


def test_verbs_are_there(capsys):
    for verb in ("disasm", "explain", "verify"):
        assert main([verb, "--help"]) == 0
        assert "Example" in capsys.readouterr().out
