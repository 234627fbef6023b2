"""scmm graph, from the outside."""

import os
from xml.etree import ElementTree

import pytest
from polfile_samples import small
from samples import NGINX, as_bytes

from scmm_oci.cli.main import compile, graph
from scmm_oci.compiled import polfile
from scmm_oci.compiled.polfile.model import Identity, Metadata, PolicyFile, Transitions
from scmm_oci.tables.arch import Arch

POLICY = """\
version: "1.0"
metadata: {name: web}
settings: {arch: x86_64, architectures: [x86_64, x86], default_action: deny}
syscalls:
- {name: "@basic-io", action: allow}
transitions:
  start: [openat]
  openat: [read, listen]
  read: [write]
serving:
  from: [listen]
  transitions:
    start:thread: [accept4]
    accept4: [read]
    accept4 > read: [close]
watch: kill
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory to stand in, with the policy "p.scmm.yaml" and others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.scmm.yaml").write_text(POLICY)
    (tmp_path / "plain.scmm.yaml").write_text(POLICY.partition("transitions:")[0])
    (tmp_path / "small.scmm-pol").write_bytes(polfile.write(small()))
    (tmp_path / "none.scmm-pol").write_bytes(polfile.write(PolicyFile((), None, Identity(), (), Metadata())))
    (tmp_path / "c.scmm-cap").write_bytes(as_bytes(NGINX))
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    return tmp_path


def test_a_drawing_on_stdout(work, capsys):
    assert graph(["p.scmm.yaml"]) == 0
    out, err = capsys.readouterr()
    root = ElementTree.fromstring(out)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert err.splitlines() == [
        "drawn: x86_64; --arch draws x86",
        "start-up: 8 states, 11 edges (17.2 % of the square); drawn as 5: classes that are treated alike are one",
        "serving: 4 states, 3 edges (18.8 % of the square), 1 list by what was before",
    ]
    assert "accept4 &gt; read: close" in out
    assert "a watch does: kill" in out


@pytest.mark.parametrize("name", ["x.svg", "x.html", "x.HTM", "sub/x.svg"])
def test_files_by_their_endings(work, capsys, name):
    (work / "sub").mkdir()
    assert graph(["p.scmm.yaml", "-o", name]) == 0
    assert capsys.readouterr().out == ""
    text = (work / name).read_text(encoding="utf-8")
    assert text.startswith("<svg" if name.endswith("svg") else "<!DOCTYPE html>")
    assert graph(["p.scmm.yaml", "-o", name]) == 0
    assert (work / name).read_text(encoding="utf-8") == text
    assert sorted(os.listdir(work / name.rpartition("/")[0])).count(name.rpartition("/")[2]) == 1


def test_a_compiled_policy_is_drawn_as_the_policy_that_it_was_made_of(work, capsys):
    assert compile(["-i", "p.scmm.yaml", "-o", "p.scmm-pol"]) == 0
    capsys.readouterr()
    for words in ([], ["--arch", "x86"], ["--phase", "serving"], ["--phase", "start-up"]):
        assert graph(["p.scmm.yaml", *words]) == 0
        of_policy = capsys.readouterr()
        assert graph(["p.scmm-pol", *words]) == 0
        assert capsys.readouterr() == of_policy


def test_phases_and_other_architectures(work, capsys):
    assert graph(["p.scmm.yaml", "--phase", "serving", "--arch", "aarch64"]) == 0
    out, err = capsys.readouterr()
    assert "start-up" not in out
    assert "ABI aarch64" in out
    assert "openat" not in out
    # arm's own listen leads over, too.
    assert err.splitlines()[0] == "drawn: aarch64; --arch draws arm"
    assert graph(["small.scmm-pol", "--arch", "x32"]) == 0
    assert "whole run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["plain.scmm.yaml"], "plain.scmm.yaml: has no transitions, so there is nothing to draw (record with"),
        (["none.scmm-pol"], "none.scmm-pol: has no transitions"),
        (["c.scmm-cap"], "c.scmm-cap: is a capture, not a policy"),
        (["profile.json"], "profile.json: is a seccomp profile: such have no transitions"),
        (["gone.scmm.yaml"], "gone.scmm.yaml: there is no such file"),
        (["small.scmm-pol", "--arch", "aarch64"], "--arch: the policy has no transitions for aarch64 (it has: x86_64"),
        (["p.scmm.yaml", "--arch", "vax"], "--arch: "),
        (["p.scmm.yaml", "--arch", "x32"], ".settings.arch: no kernel has x32 as its own"),
        (["p.scmm.yaml", "-o", "x.png"], "-o: 'x.png' is not a drawing's name (known: ….svg, ….html, ….htm)"),
        (["p.scmm.yaml", "-o", ""], "an output has an empty name"),
        (["p.scmm.yaml", "-o", "p.scmm.yaml"], "p.scmm.yaml: is an input too and would be overwritten"),
        (["small.scmm-pol", "--arch", "x32", "--phase", "serving"], "--phase: the policy has no serving phase"),
        (["small.scmm-pol", "--arch", "x86_64", "--phase", "start-up"], "--phase: start-up is not judged"),
        (["cut.scmm-pol"], "cut.scmm-pol: header.total_size"),
    ],
)
def test_what_is_refused(work, capsys, command, problem):
    (work / "cut.scmm-pol").write_bytes(polfile.write(small())[:-8])
    before = sorted(os.listdir(work))
    assert graph(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {problem}" in err
    assert sorted(os.listdir(work)) == before


def test_what_was_there_stays_if_the_drawing_is_refused(work, capsys):
    (work / "x.svg").write_text("old")
    assert graph(["plain.scmm.yaml", "-o", "x.svg"]) == 2
    assert (work / "x.svg").read_text() == "old"
    assert graph(["p.scmm.yaml", "-o", "gone/x.svg"]) == 1
    assert "gone" in capsys.readouterr().err


def test_a_hostile_file_with_more_states_than_are_drawn(work, capsys):
    edges = tuple((number, 0) for number in range(0x20000, 0x20000 + 1100))
    file = PolicyFile((), None, Identity(), (Transitions(Arch.X86_64, edges),), Metadata(name="<b>\x1b"))
    (work / "many.scmm-pol").write_bytes(polfile.write(file))
    assert graph(["many.scmm-pol"]) == 2
    assert "has 1101 states; 1024 are the most that are drawn (`scmm show` prints them)" in capsys.readouterr().err
    some = PolicyFile((), None, Identity(), (Transitions(Arch.X86_64, edges[:1000]),), Metadata(name="<b>\x1b"))
    (work / "some.scmm-pol").write_bytes(polfile.write(some))
    assert graph(["some.scmm-pol", "-o", "some.html"]) == 0
    text = (work / "some.html").read_text(encoding="utf-8")
    ElementTree.fromstring(text.partition("\n")[2])
    assert "<b>" not in text
    assert "&lt;b&gt;\\x1b" in text
    assert "too large for lines between states" in capsys.readouterr().err
