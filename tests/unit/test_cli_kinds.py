"""Files of the wrong kind: each verb says what a file is and what to do, and a broken file of the right kind is told
problem by problem."""

import base64
import json

import pytest
from samples import app, as_bytes, call

from scmm_oci.cli import main as verbs
from scmm_oci.cli.kinds import Kind, kind_of
from scmm_oci.compiled import bpf
from scmm_oci.compiled.filter import build, of_policy
from scmm_oci.policy import document

POLICY = 'version: "1.0"\nsyscalls:\n  - {names: [read, execve, exit_group], action: allow}\n'


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "web.scmm.yaml").write_text(POLICY)
    (tmp_path / "web.scmm-cap").write_bytes(as_bytes(app(call("read"))))
    made = ["-o", "web.scmm-pol", "--oci", "oci.json", "--docker", "docker.json", "--spo", "spo.yaml"]
    made += ["--systemd", "web.conf", "--crun-bpf", "crun.txt"]
    assert verbs.compile(["-i", "web.scmm.yaml", *made]) == 0
    return tmp_path


KINDS = {
    "web.scmm.yaml": Kind.POLICY,
    "web.scmm-cap": Kind.CAPTURE,
    "web.scmm-pol": Kind.COMPILED,
    "oci.json": Kind.PROFILE,
    "docker.json": Kind.PROFILE,
    "spo.yaml": Kind.OBJECT,
    "web.conf": Kind.DROP_IN,
    "crun.txt": None,
}


def test_every_file_of_ours_is_known_by_its_content(files):
    assert {name: kind_of((files / name).read_bytes()) for name in KINDS} == KINDS


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind not in (None, Kind.POLICY)])
def test_what_is_no_policy_is_told_in_one_line(files, capsys, name):
    capsys.readouterr()
    assert verbs.compile(["-i", name, "--oci", "x.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}: is {KINDS[name]}, not a policy (")
    assert not (files / "x.json").exists()


@pytest.mark.parametrize("verb", ["verify", "show", "extract"])
@pytest.mark.parametrize("name", ["web.scmm.yaml", "oci.json", "spo.yaml", "web.conf"])
def test_what_is_no_capture_is_told_in_one_line(files, capsys, verb, name):
    arguments = {"verify": ["web.scmm.yaml", "--against", name], "show": [name], "extract": ["-i", name, "-o", "x"]}
    capsys.readouterr()
    assert getattr(verbs, verb)(arguments[verb]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}: is {KINDS[name]}, not a capture (")


def test_what_is_of_the_right_kind_and_broken_is_told_problem_by_problem(files, capsys):
    (files / "web.scmm.yaml").write_text(POLICY.replace("read,", "raed, wirte,"))
    broken = json.loads((files / "web.scmm-cap").read_text())
    del broken["losses"], broken["notes"]
    (files / "web.scmm-cap").write_text(json.dumps(broken))
    capsys.readouterr()
    assert verbs.compile(["-i", "web.scmm.yaml", "--oci", "x.json"]) == 2
    told = capsys.readouterr().err
    assert told.count("error: web.scmm.yaml: line 3, ") == 2
    assert "did you mean 'read'?" in told and "did you mean 'write'?" in told
    assert verbs.show(["web.scmm-cap"]) == 2
    told = capsys.readouterr().err
    assert "the key 'losses' is missing" in told and "the key 'notes' is missing" in told


def test_empty_and_unreadable_files(files, capsys):
    (files / "empty").write_text(" \n")
    (files / "directory").mkdir()
    capsys.readouterr()
    assert verbs.compile(["-i", "empty", "--oci", "x.json"]) == 2
    assert capsys.readouterr().err == "error: empty: is empty, and no policy\n"
    assert verbs.verify(["web.scmm.yaml", "--against", "empty", "directory"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == ["error: empty: is empty, and no capture", "error: directory: cannot be read: Is a directory"]


def test_a_policy_without_calls_is_named(files, capsys):
    (files / "none.yaml").write_text('version: "1.0"\n')
    capsys.readouterr()
    assert verbs.verify(["none.yaml", "--against", "web.scmm-cap"]) == 2
    assert capsys.readouterr().err.startswith("error: none.yaml: .syscalls: is empty, ")


def test_raw_filters_are_told_apart_from_what_holds_them(files, capsys):
    capsys.readouterr()
    assert verbs.disasm(["web.scmm-pol", "--raw"]) == 2
    assert capsys.readouterr().err == "error: web.scmm-pol: is a compiled policy (leave out --raw)\n"
    # An odd number of bytes, as base64 with its line end often has.
    annotation = (files / "crun.txt").read_bytes().strip() + b"\n"
    (files / "crun.txt").write_bytes(annotation)
    assert verbs.disasm(["crun.txt", "--raw"]) == 2
    assert "`base64 -d`" in capsys.readouterr().err
    (files / "filter.bpf").write_bytes(base64.b64decode(annotation))
    assert verbs.disasm(["filter.bpf", "--raw"]) == 0
    (files / "filter.bpf").write_bytes(bpf.encode(build(of_policy(document.parse(POLICY.encode())))))
    assert verbs.disasm(["filter.bpf", "--raw"]) == 0


def test_architectures_by_the_names_that_uname_has(files, capsys):
    for verb in (["explain", "read", "-p", "web.scmm.yaml"], ["disasm", "web.scmm.yaml"]):
        capsys.readouterr()
        assert verbs.main([*verb, "--arch", "arm64"]) == 0
        by_alias = capsys.readouterr().out
        assert "aarch64" in by_alias
        assert verbs.main([*verb, "--arch", "aarch64"]) == 0
        assert capsys.readouterr().out == by_alias
        assert verbs.main([*verb, "--arch", "aarch46"]) == 2
        assert "--arch: 'aarch46' is not a known architecture (did you mean 'aarch64'?" in capsys.readouterr().err


def test_nothing_is_written_to_a_file_named_like_stdout(files, capsys):
    assert verbs.compile(["-i", "web.scmm.yaml", "--oci", "-"]) == 2
    assert "only files are written" in capsys.readouterr().err
    assert not (files / "-").exists()
    assert verbs.compile(["-i", "web.scmm.yaml", "--oci", "./-"]) == 0
    assert (files / "-").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["@file-io"], "NAME: '@file-io' is a group, and a call is wanted (`scmm groups @GROUP` "),
        (["0x1ffffffff"], "NAME: '0x1ffffffff' has more than the 32 bits of a system call's number"),
        (["openat", "-100", "/etc/passwd"], "argument 1: '/etc/passwd' is not a number (no words are known for it"),
        (
            ["socket", "AF_INETT"],
            "argument 0: 'AF_INETT' is not a value of argument 0 of socket, nor a number (did ",
        ),
    ],
)
def test_what_explain_cannot_ask_is_told_with_the_way_out(files, capsys, words, said):
    capsys.readouterr()
    assert verbs.explain([*words, "-p", "web.scmm.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
    assert "known: )" not in line


def test_numbers_where_policies_have_text_are_told_to_be_quoted(files, capsys):
    errno = POLICY + "  - {name: write, action: deny, errno: %s}\n"
    (files / "bare.yaml").write_text(errno % "22")
    (files / "quoted.yaml").write_text(errno % '"22"')
    (files / "list.yaml").write_text(errno % "[22]")
    capsys.readouterr()
    assert verbs.compile(["-i", "bare.yaml", "--oci", "x.json"]) == 2
    assert capsys.readouterr().err.endswith(".syscalls[1].errno: 22 is not text (put it in quotes)\n")
    assert verbs.compile(["-i", "quoted.yaml", "--oci", "x.json"]) == 0
    assert verbs.compile(["-i", "list.yaml", "--oci", "x.json"]) == 2
    assert capsys.readouterr().err.endswith(".syscalls[1].errno: [22] is not text\n")


def test_x32_alone_is_told_once(files, capsys):
    capsys.readouterr()
    assert verbs.compile(["-i", "web.scmm.yaml", "-o", "x.scmm-pol", "--oci", "x.json", "--arch", "x32"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no kernel has x32 as its own (compile for x86_64, " in line


def test_calls_are_counted_as_the_architectures_have_them(files, capsys):
    # open and mkdir are on x86_64 only, read and what is needed on both.
    (files / "old.yaml").write_text(POLICY.replace("read,", "read, open, mkdir,"))
    counts = {}
    for arches in (["x86_64"], ["aarch64"], ["x86_64", "aarch64"]):
        options = [word for arch in arches for word in ("--arch", arch)]
        capsys.readouterr()
        assert verbs.compile(["-i", "old.yaml", "-o", "x.scmm-pol", "--json", *options]) == 0
        counts[" ".join(arches)] = json.loads(capsys.readouterr().out)["program"]
    assert counts["x86_64"] == counts["aarch64"] + 2 == counts["x86_64 aarch64"]


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind not in (None, Kind.PROFILE)])
def test_what_is_no_profile_is_told_in_one_line(files, capsys, name):
    capsys.readouterr()
    assert verbs.import_profile([name, "-o", "new.scmm.yaml", "--arch", "amd64"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}: is {KINDS[name]}, not a seccomp profile (")
    assert verbs.import_profile(["oci.json", "-o", "new.scmm.yaml", "--arch", "amd64"]) == 0
