"""scmm show of compiled policies, from the outside."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polfile_samples import policy_files, small
from samples import NGINX, as_bytes

from scmm_oci.cli.main import show
from scmm_oci.cli.show_compiled import described, print_compiled
from scmm_oci.compiled import polfile
from scmm_oci.compiled.polfile.model import Identity, Machine, Metadata, PolicyFile, Transitions, Watch
from scmm_oci.compiled.polfile.paths import to_text
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.landlock import fs_mask


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory to stand in, with the compiled policy "p" and the capture "c"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").write_bytes(polfile.write(small()))
    (tmp_path / "c").write_bytes(as_bytes(NGINX))
    return tmp_path


def lines_of(capsys, *command):
    """What the command prints, with runs of spaces as one."""
    assert show([*command]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


def test_all_of_a_compiled_policy(work, capsys):
    lines = lines_of(capsys, "p")
    for line in (
        "name: web é",
        "runs as uid: 33",
        "capabilities: CAP_NET_BIND_SERVICE",
        "filters (scmm disasm prints them): 1",
        "x86_64 4 defeab322a7b 4 87d6d7628ae8 spec_allow",
        "Landlock, ABI 10 (Linux 7.2) for all of it: what is refused but for rules",
        "ports bind_tcp connect_tcp bind_udp connect_send_udp",
        "scopes abstract_unix_socket",
        "paths: 4",
        "/srv write_file truncate parentdir 3",
        "/srv read_file skip 1",
        "/srv/a*[bc] read_file read_dir skip 1",
        "ports: 2",
        "0 bind_tcp 4",
        "80-443 bind_tcp connect_tcp connect_send_udp 10",
        "transitions, and what a watch does at others (kill): 2",
        "x32 all 6 5 13.9 % 3",
        "x86_64 serving 8 6 9.4 % 3",
        "what may follow: 4",
        "x32 all read write",
        "x32 all start read",
        "x86_64 serving openat:write write",
        "x86_64 serving start:fork read",
        "what alone may follow, where that was before (repetitions left out): 2",
        "x32 all start read open:read",
        "x86_64 serving read open close stat",
    ):
        assert line in lines
    assert not any(line.startswith("runs as gid") for line in lines)


def test_a_policy_that_asks_for_nothing(work, capsys):
    (work / "none").write_bytes(polfile.write(PolicyFile((), None, Identity(), (), Metadata())))
    lines = lines_of(capsys, "none")
    assert [line for line in lines if line] == [
        "filters (scmm disasm prints them): none",
        "Landlock: none",
        "transitions: none",
    ]
    (work / "bare").write_bytes(polfile.write(PolicyFile((), None, Identity(capabilities=0), (), Metadata())))
    assert "capabilities: none" in lines_of(capsys, "bare")


def test_rows_have_a_limit(work, capsys):
    lines = lines_of(capsys, "p", "--limit", "1")
    assert lines.count("… and 3 more (--limit 0 shows all)") == 2  # paths, and rows of transitions
    assert "/srv read_file skip 1" not in lines
    assert "/srv read_file skip 1" in lines_of(capsys, "p", "--limit", "0")


def test_machines_with_both_phases(work, capsys):
    edges = tuple((first, second) for first in range(30) for second in range(50))
    machine = Machine(Arch.X86_64, (50, 288), ((0, 1),))
    # Of these, open, mmap and mprotect have two classes, and socket has six.
    file = replace(small(), transitions=(Transitions(Arch.X86_64, edges),), watch=Watch("freeze", (machine,)))
    (work / "two").write_bytes(polfile.write(file))
    lines = lines_of(capsys, "two", "--limit", "3")
    assert "transitions, and what a watch does at others (freeze): 2" in lines
    assert "x86_64 start-up 58 1914 56.9 % 0 accept4 listen" in lines
    assert "x86_64 serving 2 1 25.0 % 0" in lines
    assert "x86_64 start-up access accept access alarm … and 47 more" in lines
    assert any("write" in line and "… and" not in line for line in lines_of(capsys, "two", "--limit", "0"))
    never = replace(small(), watch=Watch("alert", (replace(machine, serving_calls=()), Machine(Arch.X86, ()))))
    (work / "never").write_bytes(polfile.write(never))
    assert "x86_64 serving 2 1 25.0 % 0" in lines_of(capsys, "never")
    plain = replace(small(), watch=None)
    (work / "plain").write_bytes(polfile.write(plain))
    assert "transitions, and what a watch does at others (not said: alert): 1" in lines_of(capsys, "plain")


def test_json_has_everything(work, capsys):
    assert show(["p", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(described(small())))
    assert found["identity"] == {"uid": 33, "gid": None, "capabilities": ["CAP_NET_BIND_SERVICE"]}
    assert found["filters"][0]["filter"]["instructions"][1] == {"code": 0x15, "jt": 1, "jf": 0, "k": 39}
    assert found["transitions"] == [{"arch": "x32", "edges": [["read", "write"], ["start", "read"]]}]
    assert found["watch"] == {
        "action": "kill",
        "machines": [
            {
                "arch": "x32",
                "serving_calls": None,
                "serving": [],
                "deep": [{"before": "start", "from": "read", "to": ["open:read"]}],
                "serving_deep": [],
            },
            {
                "arch": "x86_64",
                "serving_calls": ["listen"],
                "serving": [["openat:write", "write"], ["start:fork", "read"]],
                "deep": [],
                "serving_deep": [
                    {"before": "read", "from": "write", "to": []},
                    {"before": "read", "from": "open", "to": ["close", "stat"]},
                ],
            },
        ],
    }
    assert found["landlock"]["ports"][1]["last"] == 443
    assert {
        "path": "/srv",
        "kind": "exact",
        "access": ["read_file"],
        "on_missing": "skip",
        "abi": 1,
        "plain_from": 0,
    } in found["landlock"]["paths"]


@pytest.mark.parametrize(
    ("command", "problems"),
    [
        (["p", "--files", "--phase", "app"], ["--files: is for captures", "--phase: is for captures"]),
        (["c", "p"], ["p: is a compiled policy, and is not shown together with other files"]),
        (["p", "p"], ["p: is a compiled policy"] * 2),
        (["p", "none"], ["none: there is no such file"]),
        (["cut"], ["cut: header.total_size: is "]),
        (["old"], ["old: header.version: is 1: the file was made by scmm 1 (compile the policy again)"]),
    ],
)
def test_what_is_refused(work, capsys, command, problems):
    data = polfile.write(small())
    (work / "cut").write_bytes(data[:-8])
    (work / "old").write_bytes(data[:8] + b"\1\0" + data[10:])
    assert show(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if "digest" not in line and "goes beyond" not in line]
    assert len(lines) == len(problems)
    assert all(problem in line for line, problem in zip(lines, problems, strict=True))


def test_captures_are_shown_as_before(work, capsys):
    assert "capture: nginx" in lines_of(capsys, "c", "--files")


def printed(file, limit=0):
    out = io.StringIO()
    with redirect_stdout(out):
        print_compiled(file, limit=limit)
    return out.getvalue()


@given(policy_files(), st.sampled_from([0, 1, 40]))
def test_nothing_reaches_the_terminal_raw_and_nothing_is_left_out(file, limit):
    file = polfile.canonical(file)
    text = printed(file, limit)
    assert all(character.isprintable() or character == "\n" for character in text)
    found = json.loads(json.dumps(described(file)))
    rules = [] if file.ruleset is None else file.ruleset.paths
    shown = [] if found["landlock"] is None else found["landlock"]["paths"]
    assert sorted((one["path"], fs_mask(one["access"]), one["on_missing"]) for one in shown) == sorted(
        (to_text(one.components, one.kind), one.access, one.on_missing.name.lower()) for one in rules
    )
    assert [len(one["edges"]) for one in found["transitions"]] == [len(one.edges) for one in file.transitions]


def test_control_characters_are_shown_as_escapes():
    hostile = "\x1b]0;il\x07\u202e"
    file = replace(small(), metadata=Metadata(name=hostile))
    path = replace(file.ruleset.paths[0].components[0], name=b"\x1b]0;il\x07")
    rule = replace(file.ruleset.paths[0], components=(path,))
    text = printed(replace(file, ruleset=replace(file.ruleset, paths=(rule,))))
    assert "\x1b" not in text
    assert "\\x1b]0;il\\x07\\u202e" in text
    assert "/\\x1b]0;il\\x07" in text
