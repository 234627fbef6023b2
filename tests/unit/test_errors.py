from enum import StrEnum

from scmm_oci.errors import BadInput, Failure, Finding, Problem, did_you_mean, printable, short, unknown_value


def test_nothing_steers_a_terminal():
    hostile = "a\x1b[31m\r\n\u202e\u2028\x9b\udc80é"
    assert printable(hostile) == "a\\x1b[31m\\r\\n\\u202e\\u2028\\x9b\\udc80é"
    for text in (str(Problem(hostile, hostile, hostile)), str(Finding("c", hostile, hostile)), str(Failure(hostile))):
        assert text.isprintable()
    assert len(str(BadInput([Problem("p", hostile), Problem("q", "m")], source=hostile)).splitlines()) == 2


def test_suggestions_and_known_values():
    assert did_you_mean("opneat", ["openat", "read"]) == "openat"
    assert did_you_mean("zzz", ["openat", "read"]) is None
    assert str(unknown_value(".x", "a fruit", "aple", ["apple", "fig"])) == (
        ".x: 'aple' is not a fruit (did you mean 'apple'?; known: apple, fig)"
    )
    assert "known" not in str(unknown_value(".x", "a number", "0", [str(n) for n in range(1, 99)]))


def test_long_words_are_cut():
    assert short("x" * 58) == repr("x" * 58)
    assert short("x" * 59) == "'" + "x" * 56 + "..."
    assert short(["x" * 99]) == "['" + "x" * 55 + "..."
    assert len(str(unknown_value(".x", "a fruit", "apple" * 1_000_000, ["apple"]))) < 120


def test_a_word_twice_as_long_is_near_none_and_is_not_compared(monkeypatch):
    assert did_you_mean("openatt", ["openat"]) == "openat"
    monkeypatch.setattr("difflib.get_close_matches", None)
    assert did_you_mean("openat" * 1_000_000, ["openat"]) is None
    assert did_you_mean("openat", []) is None


def test_values_compare():
    assert Problem("a", "b") == Problem("a", "b", "") != Finding("a", "b")
    assert len({Problem("a", "b"), Problem("a", "b"), Problem("a", "c")}) == 2


class _Fruit(StrEnum):
    APPLE = "apple"
    FIG = "fig"


def test_members_of_an_enum_are_shown_as_words():
    expected = ".x: 'aple' is not a fruit (did you mean 'apple'?; known: apple, fig)"
    assert str(unknown_value(".x", "a fruit", "aple", list(_Fruit))) == expected
    assert str(unknown_value(".x", "a fruit", "aple", ["apple", "fig"])) == expected
    assert type(did_you_mean("aple", list(_Fruit))) is str
    assert "is not a fruit (did you mean 'fig'?" in str(
        unknown_value("", "a fruit", "ficus", list(_Fruit), meant={"ficus": _Fruit.FIG})
    )
    assert str(unknown_value("", "a pip", _Fruit.FIG, ["seed"])) == "'fig' is not a pip (known: seed)"


def test_what_others_say_goes_before_what_is_spelt_alike():
    known = ["arm", "aarch64"]
    assert "did you mean 'arm'?" in str(unknown_value("", "a machine", "arm64", known))
    assert "did you mean 'aarch64'?" in str(unknown_value("", "a machine", "ARM64", known, meant={"arm64": "aarch64"}))
    assert "did you mean 'arm'?" in str(unknown_value("", "a machine", "arm4", known, meant={"arm64": "aarch64"}))
    assert "did you mean" not in str(unknown_value("", "a machine", 64, known, meant={"64": "aarch64"}))
