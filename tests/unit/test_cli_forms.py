"""Misspelt verbs, and files given in another verb's way: the error says what is meant, and only where that is so."""

from __future__ import annotations

import importlib

import click
import pytest

from scmm_oci.cli import main as programs
from scmm_oci.cli.main import VERBS, main

# Verb → how it takes its files.
FORMS = {
    "show": "FILE...",
    "import-strace": "FILE...",
    "import-profile": "PROFILE",
    "merge": "-i FILE [FILE...]",
    "extract": "-i CAPTURE",
    "diff": "POLICY POLICY|CAPTURE",
    "lint": "POLICY...",
    "compile": "-i POLICY",
    "enforce": "-p POLICY [-- PROGRAM [ARGUMENTS]…]",
    "try": "POLICY -- docker|podman run …",
    "explain": "-p POLICY NAME|NR [ARGS]...",
    "graph": "POLICY",
    "disasm": "FILE",
    "verify": "POLICY [CAPTURE]... | -- [ARG]...",
    "logs": "-p POLICY",
    "watch": "-p POLICY [CONTAINER | -- COMMAND…]",
}
READ_NO_FILES = {"hooks", "install", "policy", "doctor", "record", "groups", "monitor"}


def options(verb: str) -> set[str]:
    module, _ = VERBS[verb]
    command = getattr(importlib.import_module(module), programs.function_of(verb))
    return {word for one in command.params if isinstance(one, click.Option) for word in one.opts}


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The last line, which is the error; it is the end with 2, or as `scmm enforce` ends."""
    assert main(words) == (125 if words[0] == "enforce" else 2)
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1]


def test_of_every_verb_it_is_known_how_it_takes_files():
    assert FORMS.keys() | READ_NO_FILES == VERBS.keys()
    assert not FORMS.keys() & READ_NO_FILES


@pytest.mark.parametrize("verb", sorted(FORMS))
def test_another_verbs_option_is_answered_with_the_form(verb, capsys):
    others = {"-i", "--input", "-p", "--policy"} - options(verb)
    assert others
    for option in others:
        error = told(capsys, verb, option, "web.scmm.yaml")
        # click may take the value for the argument before it, and then miss the verb's own option.
        assert error.startswith(("Error: No such option", "Error: Missing option"))
        assert error.endswith(f" The form is `scmm {verb} {FORMS[verb]}`.")


@pytest.mark.parametrize("verb", sorted(READ_NO_FILES))
def test_a_verb_that_reads_no_files_has_no_such_form(verb, capsys):
    for option in {"-i", "--input", "--policy"} - options(verb):
        assert "The form is" not in told(capsys, verb, option, "web.scmm.yaml")


@pytest.mark.parametrize("verb", ["compile", "extract", "explain", "logs"])
def test_a_file_without_its_option_is_answered_with_the_form(verb, capsys):
    error = told(capsys, verb, "web.scmm.yaml")
    assert error.endswith(f" The form is `scmm {verb} {FORMS[verb]}`.")


def test_a_second_file_is_answered_with_the_form(capsys):
    error = told(capsys, "compile", "-i", "web.scmm.yaml", "other.scmm.yaml")
    assert error == "Error: Got unexpected extra argument (other.scmm.yaml). The form is `scmm compile -i POLICY`."


def test_the_commands_of_their_own_say_their_own_names(capsys):
    assert programs.lint(["-p", "web.scmm.yaml"]) == 2
    assert capsys.readouterr().err.endswith("Error: No such option '-p'. The form is `scmm-lint POLICY...`.\n")
    assert programs.compile(["-p", "web.scmm.yaml"]) == 2
    assert capsys.readouterr().err.endswith("Error: No such option '-p'. The form is `scmm-compile -i POLICY`.\n")


def test_what_is_not_about_files_is_left_as_it_is(capsys):
    for words in (
        ("lint", "--nothing", "web.scmm.yaml"),
        ("lint",),
        ("verify",),
        ("merge", "a.scmm-cap"),
        ("lint", "--fail-on", "nothing", "web.scmm.yaml"),
        ("extract", "-i", "a.scmm-cap"),
        ("doctor", "web.scmm.yaml"),
    ):
        assert "The form is" not in told(capsys, *words), words


@pytest.mark.parametrize(
    ("word", "verb"),
    [("enforc", "enforce"), ("extrct", "extract"), ("LINT", "lint"), ("importstrace", "import-strace")],
)
def test_a_misspelt_verb_is_answered_with_the_one_that_is_meant(word, verb, capsys):
    assert told(capsys, word, "-p", "x") == f"Error: No such command '{word}'. Did you mean '{verb}'?"


def test_a_verb_that_is_like_none_is_not_explained(capsys):
    assert told(capsys, "frobnicate") == "Error: No such command 'frobnicate'."
    assert told(capsys, "-x") == "Error: No such option '-x'."
    assert told(capsys, "a\x1b[31m") == "Error: No such command 'a\\x1b[31m'."


def test_a_misspelt_option_is_answered_with_the_one_that_is_meant(capsys):
    assert "--fail-on" in told(capsys, "lint", "--fail-of", "danger", "x")
    assert "--default-action" in told(capsys, "extract", "--defalt-action", "deny")
