"""Whom one run asks: the command line's monitor, the policy's, or nobody."""

import pytest

from scmm_oci.cli.asked import Monitor, effective, problems, told, words
from scmm_oci.errors import Finding
from scmm_oci.policy.model import Listener

OWN = Listener("/run/own.sock", "web")
GIVEN = Monitor("/run/given.sock")


@pytest.mark.parametrize(
    ("given", "listener", "mode", "asks", "expected"),
    [
        (Monitor(), OWN, "standard", True, Monitor("/run/own.sock", None, "web")),
        (Monitor(), OWN, "ask", False, Monitor("/run/own.sock", None, "web")),
        # Nobody is asked about anything.
        (Monitor(), OWN, "standard", False, Monitor()),
        (Monitor(), OWN, "permissive", True, Monitor()),
        (Monitor(), None, "ask", None, Monitor()),
        (Monitor(), Listener(), "ask", True, Monitor()),
        # The command line stands above the policy, thing by thing.
        (GIVEN, OWN, "strict", True, Monitor("/run/given.sock", None, "web")),
        (Monitor(None, "5"), OWN, "ask", True, Monitor(None, "5", "web")),
        (Monitor(metadata="me"), OWN, "strict", True, Monitor("/run/own.sock", None, "me")),
        (GIVEN, None, "strict", None, GIVEN),
    ],
)
def test_who_is_asked(given, listener, mode, asks, expected):
    assert effective(given, listener, mode, asks=asks) == expected


@pytest.mark.parametrize(
    ("given", "mode", "asks", "found"),
    [
        (Monitor(), "standard", False, []),
        (GIVEN, "standard", True, []),
        (GIVEN, "standard", None, []),
        (GIVEN, "ask", False, []),
        (GIVEN, "standard", False, [("--listener", "there is nothing to ask a monitor about")]),
        (Monitor(None, "5"), "strict", False, [("--listener-fd", "there is nothing to ask a monitor about")]),
        (GIVEN, "permissive", False, [("--listener", "does not go with --mode permissive")]),
        (Monitor("/x", "5"), "ask", True, [("--listener-fd", "two listeners were given")]),
        (Monitor(metadata="x"), "standard", True, [("--listener-metadata", "goes with --listener")]),
        (Monitor(), "ask", True, [("--mode", "ask needs a monitor")]),
    ],
)
def test_what_makes_no_sense_is_told(given, mode, asks, found):
    told = list(problems(given, given, mode, asks=asks, may_lack=False))
    assert [one.place for one in told] == [place for place, _ in found]
    assert all(one.message.startswith(text) for one, (_, text) in zip(told, found, strict=True))


def test_ask_may_lack_a_monitor_where_nothing_is_run():
    assert list(problems(Monitor(), Monitor(), "ask", asks=True, may_lack=True)) == []


def test_words_of_the_launcher():
    assert words(Monitor()) == []
    assert words(Monitor("/s", None, "a b")) == ["--listener=/s", "--listener-metadata=a b"]
    assert words(Monitor(None, "5", "")) == ["--listener-fd=5", "--listener-metadata="]


def test_a_listener_that_is_asked_is_no_finding():
    findings = [Finding("listener-not-held", "x"), Finding("other", "y")]
    assert told(findings, GIVEN, "standard", asks=True) == findings[1:]
    assert told(findings, Monitor(), "standard", asks=False) == findings


def test_nobody_asked_is_a_finding_where_there_is_something_to_ask():
    (found,) = told([], Monitor(), "standard", asks=True)
    assert found.code == "nobody-asked" and "--listener" in found.hint
    # The launcher answers itself; what is compiled is not known; and somebody is asked.
    assert told([], Monitor(), "permissive", asks=True) == []
    assert told([], Monitor(), "standard", asks=None) == []
    assert told([], GIVEN, "standard", asks=True) == []
