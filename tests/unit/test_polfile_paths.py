"""Patterns as components of a compiled policy, and as text again."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polfile_samples import paths

from scmm_oci.compiled.polfile.model import Component, ComponentKind, PathKind
from scmm_oci.compiled.polfile.paths import ANY_BYTE, from_pattern, to_text
from scmm_oci.errors import BadInput
from scmm_oci.policy.paths.patterns import Pattern


def name(data):
    return Component(ComponentKind.NAME, data)


def glob(*tokens):
    return Component(ComponentKind.GLOB, glob=tuple(None if one is None else frozenset(one) for one in tokens))


HOME, USER = Component(ComponentKind.HOME), Component(ComponentKind.USER)


@pytest.mark.parametrize(
    ("text", "components", "kind"),
    [
        ("/", (), PathKind.EXACT),
        ("/**", (), PathKind.BENEATH),
        ("/srv/data", (name(b"srv"), name(b"data")), PathKind.EXACT),
        ("/srv/\u00e9\\xff", (name(b"srv"), name(b"\xc3\xa9\xff")), PathKind.EXACT),
        ("/a\\*b", (name(b"a*b"),), PathKind.EXACT),
        ("/srv/*", (name(b"srv"), glob(None)), PathKind.FILES),
        ("/srv/*/**", (name(b"srv"), glob(None)), PathKind.BENEATH),
        ("/*/data", (glob(None), name(b"data")), PathKind.EXACT),
        ("/\u00e9?[!a]", (glob(b"\xc3", b"\xa9", ANY_BYTE, ANY_BYTE - set(b"a")),), PathKind.FILES),
        ("/[ab]\\xff", (glob(b"ab", b"\xff"),), PathKind.FILES),
        ("/[a]b", (glob(b"a", b"b"),), PathKind.FILES),
        ("${HOME}", (HOME,), PathKind.EXACT),
        ("${HOME}/.cache/**", (HOME, name(b".cache")), PathKind.BENEATH),
        ("/run/${USER}", (name(b"run"), USER), PathKind.EXACT),
    ],
)
def test_patterns_there_and_back(text, components, kind):
    assert from_pattern(Pattern.parse(text)) == (components, kind)
    assert to_text(components, kind) == text


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (b"abc", "[a-c]"),
        (b"ab", "[ab]"),
        (b"]-", "[]-]"),
        (b"]^_", "[]-_]"),
        (b"[\\]^", "[[-^]"),
        (b"!^-", "[-!^]"),
        (b"^_`a-", "[_-a^-]"),
        (b'!"#q-', '["-#!q-]'),
        (b"a^", "[a^]"),
        (b"+,-z", "[+--z]"),
        (ANY_BYTE - set(b"!"), "[!!]"),
        (ANY_BYTE - set(b"^]"), "[!]^]"),
    ],
)
def test_sets_as_patterns_have_them(token, text):
    assert to_text((glob(token),), PathKind.FILES) == "/" + text
    assert from_pattern(Pattern.parse("/" + text)) == ((glob(token),), PathKind.FILES)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (b"\x80\xff", "[\\x80\\xff]"),
        (b"a\\", "[\\x5c\\x61]"),
        (b"[\\]", "[\\x5b\\x5c\\x5d]"),
        (b"!^", "[\\x21\\x5e]"),
        (b"^", "[\\x5e]"),
        (ANY_BYTE - set(b"\xc3"), "[!\\xc3]"),
        (ANY_BYTE - set(b"\\"), "[!\\x5c]"),
    ],
)
def test_sets_byte_by_byte(token, text):
    assert to_text((glob(token),), PathKind.FILES) == "/" + text
    assert from_pattern(Pattern.parse("/" + text)) == ((glob(token),), PathKind.FILES)


@given(paths())
@example(((glob(b"^", b"a"),), PathKind.FILES))
@example(((glob(None, b".", b"."),), PathKind.FILES))
@example(((glob(b"[\\]^_`", None, b"$"),), PathKind.FILES))
def test_text_is_read_as_the_same_or_not_at_all(path):
    try:
        pattern = Pattern.parse(to_text(*path))
    except BadInput:
        assert len(to_text(*path)) > 4096
        return
    assert from_pattern(pattern) == path


@given(paths(), paths())
def test_different_paths_have_different_texts(one, other):
    assert (to_text(*one) == to_text(*other)) == (one == other)


@given(st.text(alphabet="ab/*?[]!^-\\\xe9${}HOMEUSR", max_size=12))
def test_every_pattern_comes_back(text):
    try:
        pattern = Pattern.parse("/" + text)
    except BadInput:
        return
    components, kind = from_pattern(pattern)
    assert from_pattern(Pattern.parse(to_text(components, kind))) == (components, kind)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/" + "a" * 256, "here.components[0]: is a name of 256 bytes; a name has 1 to 255"),
        ("/b/" + "\u00e9" * 128, "here.components[1]: is a name of 256 bytes; a name has 1 to 255"),
        ("/" + "?" * 256, "here.components[0]: stands for 256 bytes or more; a name has 1 to 255"),
        ("/a" * 2047 + "/\u00e9", "here: has 4097 bytes or more; 4095 are the most that a path can have"),
    ],
)
def test_what_no_file_can_have(text, problem):
    with pytest.raises(BadInput) as caught:
        from_pattern(Pattern.parse(text), place="here")
    assert problem in [str(one) for one in caught.value.problems]


def test_the_longest_names_and_paths_are_taken():
    assert from_pattern(Pattern.parse("/" + "a" * 255))[0] == (name(b"a" * 255),)
    assert len(from_pattern(Pattern.parse("/a" * 2046 + "/\u00e9"))[0]) == 2047
