"""Hints of policies: for other words and forms than those that stand there, and none for what has another cause."""

from __future__ import annotations

import pytest

from scmm_oci.errors import BadInput
from scmm_oci.policy import advice, document
from scmm_oci.policy.model import Action
from scmm_oci.schema import Advice, problems
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.tables.vocabulary import ACCESS_RIGHTS


def told(text: str) -> str:
    """What is said of a policy with one thing wrong, without its place."""
    with pytest.raises(BadInput) as caught:
        document.parse(f'version: "1.0"\n{text}\n'.encode())
    (problem,) = caught.value.problems
    return f"{problem.message} ({problem.hint})"


def access(words: str) -> str:
    return told(f"filesystem: {{rules: [{{path: /a, access: {words}}}]}}")


def ports(words: str) -> str:
    return told(f"network: {{inbound: [{{protocol: tcp, ports: {words}}}]}}")


def test_every_other_word_stands_for_a_known_one():
    assert set(advice.ARCHES.values()) <= set(Arch)
    assert set(advice.ACCESS.values()) <= set(ACCESS_RIGHTS)
    assert set(advice.ACTIONS.values()) <= set(Action)
    for words, known in ((advice.ARCHES, Arch), (advice.ACCESS, ACCESS_RIGHTS), (advice.ACTIONS, Action)):
        assert not words.keys() & set(known)
        assert all(word == word.lower() for word in words)


def test_the_command_line_means_the_same_by_names_of_machines():
    taken = 0
    for word, arch in advice.ARCHES.items():
        try:
            assert from_machine(word) is Arch(arch), word
        except BadInput:
            continue
        taken += 1
    assert taken >= 8


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("arm64", "aarch64"),
        ("amd64", "x86_64"),
        ("AMD64", "x86_64"),
        ("x64", "x86_64"),
        ("i386", "x86"),
        ("i686", "x86"),
        ("armv7", "arm"),
        ("armhf", "arm"),
        ("ppc64el", "ppc64le"),
        ("x86_46", "x86_64"),
    ],
)
def test_other_names_of_machines(word, meant):
    assert f"(did you mean '{meant}'?; known: x86_64, x86, " in told(f"settings: {{arch: {word}}}")
    assert f"(did you mean '{meant}'?; " in told(f"settings: {{architectures: [{word}]}}")


def test_a_word_that_is_like_none_is_not_explained():
    assert "did you mean" not in told("settings: {arch: zseries}")
    assert "did you mean" not in access("[zap]")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("read", "read_file"),
        ("write", "write_file"),
        ("WRITE", "write_file"),
        ("exec", "execute"),
        ("list", "read_dir"),
        ("create", "make_reg"),
        ("delete", "remove_file"),
        ("unlink", "remove_file"),
        ("rename", "refer"),
        ("link", "refer"),
        ("connect", "resolve_unix"),
        ("raed_file", "read_file"),
    ],
)
def test_other_words_for_access(word, meant):
    assert f"'{word}' is not a known value (did you mean '{meant}'?; known: execute, " in access(f"[{word}]")


def test_words_of_one_key_are_none_of_anothers():
    assert "did you mean 'deny'?" in told("settings: {default_action: block}")
    assert "did you mean 'kill_thread'?" in told("syscalls: [{name: read, action: SCMP_ACT_KILL}]")
    assert "did you mean" not in access("[block]")
    assert "did you mean" not in told("syscalls: [{name: read, action: delete}]")


@pytest.mark.parametrize("value", ["www-data", "33", '"33:33"', "[33, 33]"])
def test_the_form_of_run_as(value):
    assert told(f"settings: {{run_as: {value}}}").endswith(
        " is not a mapping (numbers of a user and a group, such as {uid: 33, gid: 33})"
    )
    document.parse(b'version: "1.0"\nsettings: {run_as: {uid: 33, gid: 33}}\n')


def test_users_are_numbers():
    assert told("settings: {run_as: {uid: www-data}}") == (
        "'www-data' is not a whole number (a number such as 33; `id` tells those of a user)"
    )
    assert told("settings: {run_as: {uid: -1}}") == "-1 is less than 0 ()"


def test_ports_are_numbers():
    assert ports('["80"]').endswith(" (numbers stand without quotes: 80)")
    assert ports('["080"]').endswith(" (numbers stand without quotes: 80)")
    document.parse(b'version: "1.0"\nnetwork: {inbound: [{protocol: tcp, ports: [80, "80-90"]}]}\n')
    for other in ('["80000"]', '["80-"]', '["http"]', "[80000]", '["\u0668\u0660"]'):
        assert ports(other).endswith(" ()"), other


@pytest.mark.parametrize(
    ("found", "form"),
    [
        (lambda: ports("80"), "a list of one is [80]"),
        (lambda: access("read_file"), "a list of one is [read_file]"),
        (lambda: access("read"), "a list of one is [read_file]"),
        (lambda: told("capabilities: CAP_CHOWN"), "a list of one is [CAP_CHOWN]"),
        (lambda: told("settings: {architectures: amd64}"), "a list of one is [x86_64]"),
    ],
)
def test_a_list_of_one(found, form):
    assert found().endswith(f" is not a list ({form})")


def test_no_list_is_made_of_what_is_no_item_or_means_something_in_yaml():
    for value in ("true", "null", "{a: b}", '"a, b"', '"*"', '""', f'"{"a" * 61}"'):
        assert access(value).endswith(" is not a list ()"), value


def test_hints_are_for_the_documents_that_have_them():
    document_ = {"version": "1.0", "settings": {"arch": "amd64", "run_as": 33}}
    plain = [one.problem.hint for one in problems(document_, "policy")]
    advised = [one.problem.hint for one in problems(document_, "policy", advice=advice.ADVICE)]
    assert plain[1] == "" and "did you mean" not in plain[0]
    assert "uid: 33" in advised[1] and "did you mean 'x86_64'?" in advised[0]
    assert problems({"version": "1.0"}, "policy", advice=Advice()) == []
