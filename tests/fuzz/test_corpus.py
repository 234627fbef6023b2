"""What the fuzzer has found to reach something, once more: only refusals come out, and what is taken is right."""

import os
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from keep import kept
from run import LAUNCHER, NAMES, arguments_of

from scmm_oci.compiled import bpf
from scmm_oci.enforcer.monitor.model import By, Decision, Verdict
from scmm_oci.enforcer.monitor.rules.decide import Needs

CORPUS = Path(__file__).with_name("corpus")
INPUTS = [path for name in (*NAMES, LAUNCHER) for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", ["rules", "conditions"])
@settings(max_examples=1000 if os.environ.get("SCMM_SOAK") else 60, derandomize=True, database=None, deadline=None)
@given(st.data())
def test_documents_made_of_any_bytes(name, data):
    TARGETS[name](data.draw(st.binary(min_size=20, max_size=300)))


@pytest.mark.parametrize("name", NAMES)
def test_corpus_of_a_target(name):
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            pytest.fail(f"{path.name}: {error!r}")


def test_every_target_is_run_and_has_a_corpus():
    assert tuple(TARGETS) == NAMES
    # The launcher's reader is asked about its corpus in tests/unit/test_launcher_reader.py.
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted((*NAMES, LAUNCHER))
    shared = {path.name for path in (CORPUS / "polfile").iterdir()}
    assert not shared & {path.name for path in (CORPUS / LAUNCHER).iterdir()}
    assert all(path.stat().st_size <= 8192 for path in INPUTS)


def test_arguments_for_the_fuzzer():
    name, told = arguments_of(["polfile", "10"])
    assert name == "polfile"
    assert "-max_total_time=10" in told
    assert str(CORPUS / "polfile") in arguments_of([LAUNCHER, "10"])[1]
    assert arguments_of(["policy", "some/file"]) == ("policy", ["some/file"])


@pytest.mark.parametrize(
    ("name", "function", "broken"),
    [
        ("polfile", "fuzz_targets.polfile.write", lambda file: b""),
        ("policy", "fuzz_targets.build", lambda plan: (bpf.Instruction(bpf.RET, bpf.RET_ALLOW),)),
        ("profile", "fuzz_targets.build", lambda plan: (bpf.Instruction(bpf.RET, bpf.RET_ALLOW),)),
        ("program", "fuzz_targets.lines", lambda program, arch: []),
        ("peer", "monitor_targets.Document.feed", lambda document, piece: False),
        ("monitor", "monitor_targets.Rules.needs", lambda rules, call, target=None: Needs(False, False, False)),
        ("answer", "monitor_targets.decision_of", lambda document, number: Decision(Verdict.DENY, By.PROGRAM, 0)),
        ("address", "monitor_targets.peer_fits", lambda peers, address, paths, *, bind, strict: not strict),
        ("call", "monitor_targets.calls.words", lambda call, memory=None: "\x1b[2J"),
    ],
)
def test_what_is_wrong_is_found(monkeypatch, name, function, broken):
    """Control: with something broken, the corpus fails."""
    monkeypatch.setattr(function, broken)
    with pytest.raises(AssertionError):
        for path in sorted((CORPUS / name).iterdir()):
            TARGETS[name](path.read_bytes())


def test_inputs_that_reach_nothing_new_are_not_kept():
    head = bytes(64)
    allow, division = bytes.fromhex("06000000 0000ff7f"), bytes.fromhex("34000000 00000000")
    inputs = [head + allow, b"\1" * 64 + allow, head + division + allow]
    assert list(kept(TARGETS["program"], inputs)) == [head + allow, head + division + allow]
    assert list(kept(TARGETS["program"], reversed(inputs))) == [head + allow, head + division + allow]
