"""``scmm merge`` for policies, ``scmm diff`` and ``scmm lint`` from the outside: texts, exit codes, gates."""

import json

import pytest
from samples import app, as_bytes, call, file_use, program, socket_use

from scmm_oci.cli.main import diff, lint, main, merge
from scmm_oci.policy import document
from scmm_oci.policy.lint import RULES

A = """\
# Ours, reviewed on Monday.
version: "1.0"
metadata: {name: a}
settings: {default_action: deny}
syscalls:
  - {name: write, action: allow}  # for logs
  - {name: read, action: allow}
"""
B = """\
version: "1.0"
metadata: {name: b}
syscalls:
  - {name: read, action: allow}
  - {name: close, action: allow}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.scmm.yaml").write_text(A)
    (tmp_path / "b.scmm.yaml").write_text(B)
    (tmp_path / "c.scmm-cap").write_bytes(as_bytes(app(call("read"), call("close"))))
    return tmp_path


def names(path):
    return sorted(rule.name for rule in document.read(path).syscalls)


def test_a_union_keeps_the_first_inputs_comments(files, capsys):
    assert merge(["-i", "a.scmm.yaml", "-i", "b.scmm.yaml", "-o", "out", "--name", "both", "--json"]) == 0
    text = (files / "out").read_text()
    assert "# Ours, reviewed on Monday." in text and "# for logs" in text
    assert names("out") == ["close", "read", "write"] and document.read("out").metadata.name == "both"
    told = json.loads(capsys.readouterr().out)
    assert told == {"output": "out", "given": 2, "mode": "union", "name": "both", "findings": []}


def test_canonical_texts_do_not_depend_on_the_order(files):
    for name, order in (("one", ["a.scmm.yaml", "b.scmm.yaml"]), ("two", ["b.scmm.yaml", "a.scmm.yaml"])):
        assert merge([*order, "--canonical", "-o", name]) == 0
    assert (files / "one").read_bytes() == (files / "two").read_bytes()
    assert b"Monday" not in (files / "one").read_bytes()
    # Control: otherwise the first one's text is what is changed.
    assert (
        merge(["a.scmm.yaml", "b.scmm.yaml", "-o", "three"]) == merge(["b.scmm.yaml", "a.scmm.yaml", "-o", "four"]) == 0
    )
    assert (files / "three").read_bytes() != (files / "four").read_bytes()
    assert document.read("three").syscalls != () and names("three") == names("four")


def test_intersection_and_difference(files):
    assert main(["merge", "--mode", "intersection", "a.scmm.yaml", "b.scmm.yaml", "-o", "both"]) == 0
    allowed = [rule.name for rule in document.read("both").syscalls if rule.action.passes]
    assert allowed == ["read"]
    assert merge(["--mode", "difference", "a.scmm.yaml", "b.scmm.yaml", "-o", "rest"]) == 0
    assert names("rest") == ["write"]
    (files / "w.scmm.yaml").write_text('version: "1.0"\nsyscalls: [{name: write, action: allow}]\n')
    assert merge(["--mode", "difference", "a.scmm.yaml", "b.scmm.yaml", "w.scmm.yaml", "-o", "none"]) == 0
    assert names("none") == []


def test_what_is_lost_is_told(files, capsys):
    (files / "f.scmm.yaml").write_text(A + "filesystem: {rules: [{path: /a, access: [read_file]}]}\n")
    assert merge(["f.scmm.yaml", "b.scmm.yaml", "-o", "out"]) == 0
    assert "[not-spoken-of]" in capsys.readouterr().err
    assert document.read("out").filesystem is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.scmm.yaml", "c.scmm-cap", "-o", "out"], "a.scmm.yaml: is a policy, and c.scmm-cap a capture"),
        (["c.scmm-cap", "-o", "out", "--mode", "intersection"], "are for policies"),
        (["c.scmm-cap", "-o", "out", "--name", "x"], "are for policies"),
        (["--mode", "difference", "a.scmm.yaml", "-o", "out"], "at least one more"),
        (["a.scmm.yaml", "-o", "a.scmm.yaml"], "is an input too"),
        (["nowhere", "-o", "out"], "there is no such file"),
        (["-o", "out"], "Missing argument"),
    ],
)
def test_bad_usage_of_merge(words, told, files, capsys):
    assert merge(words) == 2
    assert told in capsys.readouterr().err
    assert not (files / "out").exists()


def test_all_bad_inputs_are_told_at_once(files, capsys):
    (files / "x").write_text('version: "1.0"\nsyscalls: [{name: raed, action: allow}]\n')
    (files / "y").write_text('version: "2.0"\n')
    assert merge(["x", "y", "-o", "out"]) == 2
    told = capsys.readouterr().err
    assert "x: line 2" in told and "'raed'" in told and "y: line 1" in told


def test_captures_are_told_by_content_not_by_name(files):
    (files / "web.txt").write_bytes((files / "c.scmm-cap").read_bytes())
    assert merge(["web.txt", "c.scmm-cap", "-o", "out.scmm-cap"]) == 0
    assert b"scmm-capture" in (files / "out.scmm-cap").read_bytes()


def test_diff_and_its_gates(files, capsys):
    assert diff(["a.scmm.yaml", "a.scmm.yaml"]) == 0
    assert capsys.readouterr() == ("", "no differences\n")
    assert diff(["a.scmm.yaml", "b.scmm.yaml"]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["+", "syscalls", "close", "new"],
        ["syscalls", "write", "gone", "allow"],
    ]
    assert err == "2 differences, 1 of which may allow more\n" and "\x1b" not in out
    gates = ["a.scmm.yaml", "b.scmm.yaml", "--new", "ignore"]
    assert diff(gates) == 1
    assert "close" not in capsys.readouterr().out
    assert diff([*gates, "--gone", "warn"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "warning: syscalls: write is gone: allow → deny EPERM\n" in err
    assert diff([*gates, "--gone", "ignore"]) == 0
    assert "warning" not in capsys.readouterr().err
    (files / "k.scmm.yaml").write_text(A.replace("write, action: allow", "write, action: kill"))
    assert diff(["a.scmm.yaml", "k.scmm.yaml", "--new", "ignore", "--gone", "ignore"]) == 1
    assert diff(["a.scmm.yaml", "k.scmm.yaml", "--changed", "ignore"]) == 0


def test_diff_as_json(files, capsys):
    assert main(["diff", "--json", "--gone", "warn", "a.scmm.yaml", "b.scmm.yaml"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["equal"] is False
    assert [(one["what"], one["kind"], one["wider"], one["gate"]) for one in found["differences"]] == [
        ("close", "new", True, "fail"),
        ("write", "gone", False, "warn"),
    ]
    assert main(["diff", "--json", "a.scmm.yaml", "a.scmm.yaml"]) == 0
    assert json.loads(capsys.readouterr().out) == {"differences": [], "equal": True}


def test_diff_with_a_capture(files, capsys):
    def found(policy, capture):
        code = diff([policy, capture, "--json"])
        told = json.loads(capsys.readouterr().out)["differences"]
        return code, [(one["section"], one["what"], one["kind"], one["wider"]) for one in told]

    assert found("b.scmm.yaml", "c.scmm-cap") == (0, [])
    expected = [("syscalls", "close", "new", True), ("syscalls", "write", "gone", False)]
    assert found("a.scmm.yaml", "c.scmm-cap") == (1, expected)
    assert diff(["a.scmm.yaml", "c.scmm-cap", "--new=warn", "--gone=ignore"]) == 0
    assert "warning: syscalls: close is new" in capsys.readouterr().err
    assert diff(["c.scmm-cap", "a.scmm.yaml"]) == 2
    assert "the first is a policy" in capsys.readouterr().err
    assert diff(["a.scmm.yaml", "nowhere"]) == 2
    assert diff(["a.scmm.yaml"]) == 2


def test_a_pattern_admits_the_files_of_a_new_recording(files, capsys):
    rules = """\
filesystem:
  rules:
    - {path: "/data/*.csv", access: [read_file]}
    - {path: /data/unused, access: [read_file]}
network:
  inbound: [{protocol: tcp, ports: ["8000-8010"]}]
  outbound: [{protocol: tcp, ports: [443]}]
"""
    (files / "p").write_text(B + rules)
    seen = [file_use("/data/two.csv", access=["read_file"]), file_use("/etc/passwd", access=["read_file"])]
    sockets = [socket_use("bind", "0.0.0.0", 8003)]
    changes = {"files": seen, "sockets": sockets, "programs": [program(0, "/bin/x", "x")]}
    (files / "new").write_bytes(as_bytes(app(call("read"), call("close"), **changes)))
    assert diff(["p", "new", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["differences"]
    assert [(one["section"], one["what"], one["kind"]) for one in told] == [
        ("filesystem", "/data/unused", "gone"),
        ("filesystem", "/etc/passwd", "new"),
        ("network", "outbound tcp", "gone"),
    ]


def test_lint(files, capsys):
    good = A + "  - {name: execve, action: allow}\n  - {name: exit_group, action: allow}\n"
    (files / "good").write_text(good)
    (files / "bad").write_text(good + "  - {name: mount, action: allow}\n  - {name: ioctl, action: allow}\n")
    assert lint(["good"]) == 0
    assert capsys.readouterr() == ("", "nothing found\n")
    assert lint(["good", "bad"]) == 1
    out, err = capsys.readouterr()
    assert "dangerous-call" in out and "terminal-input" in out and "\x1b" not in out
    assert err == "1 danger, 1 warning, 0 note\n"
    assert lint(["bad", "--ignore", "dangerous-call"]) == 0
    assert lint(["bad", "--ignore", "dangerous-call", "--fail-on", "warning"]) == 1
    assert lint(["bad", "--ignore", "dangerous-call", "--ignore", "terminal-input", "--fail-on", "note"]) == 0
    capsys.readouterr()
    assert main(["lint", "--json", "bad"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(one["file"], one["id"], one["severity"], one["place"]) for one in found] == [
        ("bad", "dangerous-call", "danger", "syscalls: mount"),
        ("bad", "terminal-input", "warning", "syscalls: ioctl"),
    ]


def test_lint_lists_its_rules(capsys):
    assert lint(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(any(line.startswith(f"{one} ") for line in out.splitlines()) for one in RULES)
    assert lint(["--list", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["rules"]] == list(RULES)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Missing argument 'POLICY...'"),
        (["a.scmm.yaml", "--ignore", "dangerous-cal"], "did you mean 'dangerous-call'?"),
        (["c.scmm-cap"], "is a capture, not a policy"),
        (["nowhere"], "there is no such file"),
        (["a.scmm.yaml", "--fail-on", "all"], "Invalid value for '--fail-on'"),
    ],
)
def test_bad_usage_of_lint(words, told, files, capsys):
    assert lint(words) == 2
    assert told in capsys.readouterr().err
