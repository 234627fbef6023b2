import cProfile
import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.errors import BadInput
from scmm_oci.policy.paths.patterns import Kind, Pattern, PatternSet, covers, escape, is_plain, root

NAMES = st.text("ab*?[]\\$.-é\udcff", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, max_size=4).map(lambda names: "/" + "/".join(names))
PARTS = st.sampled_from(
    ["a", "b", "ab", "*", "a*", "*b", "a*b", "?", "??", "[ab]", "[!a]", "a[ab]*", "[a]b", "${USER}"]
)
SIMPLE = st.lists(st.sampled_from(["a", "b", "ab", "aab", "bb", "c", "é"]), max_size=4).map(
    lambda names: "/" + "/".join(names)
)


@st.composite
def patterns(draw):
    parts = draw(st.lists(PARTS, max_size=3))
    if draw(st.booleans()):
        parts.append("**")
    home = draw(st.integers(0, 9)) == 0
    return Pattern.parse("/".join(["${HOME}" if home else "", *parts]) or "/")


def problems(text):
    with pytest.raises(BadInput) as caught:
        Pattern.parse(text, place=".filesystem.rules[2].path")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "kind", "matched", "granted", "not_granted"),
    [
        ("/usr", Kind.EXACT, ["/usr"], ["/usr", "/usr/lib/x"], ["/usr2", "/", "/us", "/usr2/x"]),
        ("/", Kind.EXACT, ["/"], ["/", "/etc/shadow"], []),
        ("/usr/**", Kind.BENEATH, ["/usr"], ["/usr", "/usr/a/b"], ["/usr2", "/"]),
        ("/**", Kind.BENEATH, ["/"], ["/", "/a/b"], []),
        ("/d/*", Kind.FILES, ["/d/a", "/d/.a", "/d/a*"], ["/d/a"], ["/d", "/d/a/b", "/e/a"]),
        ("/d/*.so", Kind.FILES, ["/d/x.so", "/d/.so"], [], ["/d/x.so.1", "/d/x/y.so", "/d/xso"]),
        ("/d/job-*/in", Kind.EXACT, ["/d/job-/in"], ["/d/job-7/in", "/d/job-7/in/x"], ["/d/job-7", "/d/job-7/x/in"]),
        ("/d/*/**", Kind.BENEATH, ["/d/a"], ["/d/a", "/d/a/b"], ["/d"]),
        ("/d/a?", Kind.FILES, ["/d/ab"], [], ["/d/a", "/d/abc", "/d/a/"]),
        ("/d/[a-c!]", Kind.FILES, ["/d/b", "/d/!"], [], ["/d/d", "/d/-", "/d/ab"]),
        ("/d/[!a-c]", Kind.FILES, ["/d/d", "/d/!"], [], ["/d/a", "/d/"]),
        ("/d/[]a]", Kind.FILES, ["/d/]", "/d/a"], [], ["/d/[]a]"]),
        ("/d/[a-]", Kind.FILES, ["/d/-", "/d/a"], [], ["/d/b"]),
        (r"/d/\*\?\[x\\\$", Kind.EXACT, [r"/d/*?[x\$"], [], [r"/d/a?[x\$", r"/d/\*\?\[x\\\$"]),
        (
            "/proc/self/task/**",
            Kind.BENEATH,
            ["/proc/self/task"],
            ["/proc/self/task/7/stat"],
            ["/proc/self", "/proc/7"],
        ),
    ],
)
def test_what_patterns_reach(text, kind, matched, granted, not_granted):
    pattern = Pattern.parse(text)
    assert (pattern.text, pattern.kind) == (text, kind)
    assert [path for path in matched if not pattern.matches(path)] == []
    assert [path for path in [*matched, *granted] if not pattern.grants(path)] == []
    assert [path for path in not_granted if pattern.grants(path)] == []
    assert [path for path in not_granted if pattern.matches(path)] == []


def test_matching_is_less_than_granting():
    assert Pattern.parse("/usr").grants("/usr/lib")
    assert not Pattern.parse("/usr").matches("/usr/lib")
    assert not Pattern.parse("/usr/**").matches("/usr/lib")
    assert not Pattern.parse("/usr").grants("usr")


def test_wildcards_are_of_bytes():
    assert Pattern.parse("/d/??").matches("/d/é")
    assert not Pattern.parse("/d/?").matches("/d/é")
    assert Pattern.parse("/d/?").matches("/d/\udcff")
    assert Pattern.parse("/d/é*").matches("/d/éa\n")
    assert not Pattern.parse("/d/*").matches("/d/\ud800")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["is not an absolute path"]),
        ("usr/lib", ["is not an absolute path"]),
        ("**", ["is not an absolute path"]),
        ("/usr//lib", ["empty component"]),
        ("//", ["empty component", "ends in '/'"]),
        ("/usr/", ["ends in '/'"]),
        ("/a/./b", ["component '.'"]),
        ("/a/../b", ["component '..'"]),
        ("/a/**/b", ["'**' before its end"]),
        ("/a/x**", ["'**' within the component"]),
        ("/a/[b", ["'[' without ']'"]),
        ("/a/[z-a]", ["empty range"]),
        ("/a/[^a]", ["has the set"]),
        ("/a/[é]", ["has the set"]),
        ("/a/b\\", ["backslash"]),
        ("/a/\\b", ["backslash"]),
        ("/a/b$", ["'$' within"]),
        ("/a/x${USER}", ["'$' within"]),
        ("/a/${USER}x", ["more than a variable"]),
        ("/a/${USER", ["'${' without '}'"]),
        ("${HOMEE}/a", ["'HOMEE' is not a variable (did you mean 'HOME'?"]),
        ("${USER}/a", ["is not an absolute path"]),
        ("/a/${HOME}", ["${HOME} after its beginning"]),
        ("${HOME}/${HOME}", ["${HOME} after its beginning"]),
        ("/a\0", ["zero byte"]),
        ("/a\ud800", ["surrogate"]),
        ("/" + "a" * 4096, ["4097 characters"]),
        ("a/../[b/$x//", ["absolute", "ends in '/'", "'..'", "'['", "'$'", "empty"]),
    ],
)
def test_every_problem_is_told_at_once(text, messages):
    found = problems(text)
    assert len(found) == len(messages)
    assert all(one.startswith(".filesystem.rules[2].path: ") for one in found)
    assert [message for message in messages if not any(message in one for one in found)] == []


def test_variables():
    pattern = Pattern.parse("${HOME}/.cache/**")
    assert pattern.variables == {"HOME"}
    assert not pattern.grants("/home/ada/.cache/x")
    resolved = pattern.resolve(home="/home/ada")
    assert resolved.text == "/home/ada/.cache/**"
    assert resolved.grants("/home/ada/.cache/x")
    assert pattern.resolve(home="/").text == "/.cache/**"
    assert Pattern.parse("${HOME}").resolve(home="/").text == "/"
    assert Pattern.parse("${HOME}/a").resolve(home="/h*/").text == r"/h\*/a"
    assert Pattern.parse("/var/mail/${USER}").resolve(user="a$").text == r"/var/mail/a\$"
    assert Pattern.parse("${HOME}/${USER}").resolve(user="ada").text == "${HOME}/ada"
    with pytest.raises(BadInput):
        pattern.resolve(home="ada")
    with pytest.raises(BadInput):
        Pattern.parse("/a/${USER}/b").resolve(user="../x")
    with pytest.raises(BadInput):
        Pattern.parse("/a/${USER}/b").resolve(user="..")


def test_many_stars_take_no_time():
    # By backtracking this were 2000^30 steps.
    pattern = Pattern.parse("/d/" + "*a" * 30 + "*b")
    assert not pattern.matches("/d/" + "a" * 2000)
    assert pattern.matches("/d/" + "a" * 2000 + "b")


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("/usr", "/usr/lib/x", True),
        ("/usr", "/usr2", False),
        ("/usr/**", "/usr2/**", False),
        ("/usr/**", "/usr", True),
        ("/usr", "/usr/**", True),
        ("/usr/lib", "/usr", False),
        ("/d/*", "/d/*.so", True),
        ("/d/*.so", "/d/*", False),
        ("/d/*.so", "/d/lib*.so", True),
        ("/d/?", "/d/[ab]", True),
        ("/d/[ab]", "/d/?", False),
        ("/d/*", "/d/a", False),  # which may be a directory
        ("/d/**", "/d/*", True),
        ("/d/*/**", "/d/a/b", True),
        ("/d/*/x", "/d/${USER}/x", True),
        ("/*/x", "${HOME}/x", False),
        ("/", "${HOME}/x", True),
        ("${HOME}/**", "${HOME}/a*/b", True),
        ("/d/a*b*", "/d/a*bc", True),
        ("/d/a*b", "/d/ab*", False),
    ],
)
def test_covers(wide, narrow, covered):
    assert covers(Pattern.parse(wide), Pattern.parse(narrow)) is covered


@given(patterns(), patterns(), st.lists(SIMPLE, min_size=20, max_size=20))
def test_what_is_covered_is_granted(wide, narrow, paths):
    wide_here, narrow_here = (one.resolve(home="/a/b", user="ab") for one in (wide, narrow))
    if covers(wide, narrow):
        assert [path for path in paths if narrow_here.grants(path) and not wide_here.grants(path)] == []
    assert covers(wide, wide)
    assert covers(Pattern.parse("/**"), wide)


@given(st.lists(patterns(), max_size=12), st.lists(SIMPLE, min_size=5, max_size=5))
def test_a_set_finds_what_each_pattern_says(chosen, paths):
    found = PatternSet(chosen)
    distinct = sorted(set(chosen), key=lambda one: one.text)
    assert list(found) == distinct
    for path in paths:
        assert list(found.granting(path)) == [one for one in distinct if one.grants(path)]
        assert list(found.matching(path)) == [one for one in distinct if one.matches(path)]


@given(st.lists(patterns(), max_size=12), patterns())
def test_a_set_finds_what_covers_a_pattern(chosen, narrow):
    distinct = sorted(set(chosen), key=lambda one: one.text)
    assert list(PatternSet(chosen).covering(narrow)) == [one for one in distinct if covers(one, narrow)]


def test_an_empty_component_is_no_root():
    found = PatternSet([Pattern.parse("/"), Pattern.parse("/a")])
    assert [one.text for one in found.granting("//a")] == ["/"]
    assert [one.text for one in found.granting("/a//b")] == ["/", "/a"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("/usr/lib/x.so", True),
        ("/.../..a/é\n", True),
        ("/", False),
        ("usr", False),
        ("/usr/", False),
        ("/usr//x", False),
        ("/usr/./x", False),
        ("/usr/..", False),
        ("/usr/a*", False),
        (r"/usr/\$x", False),
        ("/usr/\ud800", False),
        ("/usr/\0", False),
        ("/" + "a/" * 2047 + "a", True),
        ("/" + "a/" * 2047 + "ab", False),
    ],
)
def test_plain_paths(text, plain):
    assert is_plain(text) is plain


@given(st.text("/ab.*\\$[é\0\udcff", max_size=8))
def test_a_plain_path_is_read_as_the_path_that_it_names(text):
    if is_plain(text):
        pattern = Pattern.parse(text)
        assert (pattern.kind, pattern.literal, root(pattern)) == (Kind.EXACT, text, text)
        assert [one.name for one in pattern.parts] == text[1:].split("/")
        assert Pattern.exact(text) == pattern


@given(patterns())
def test_the_literal_path_is_that_of_patterns_without_wildcards(pattern):
    names = [one.name for one in pattern.parts]
    assert (pattern.literal is None) is (None in names)
    if pattern.literal is not None:
        assert pattern.literal == "/" + "/".join(names)
        assert pattern.matches(pattern.literal)


@given(PATHS, PATHS)
def test_an_escaped_path_is_itself_only(path, other):
    pattern = Pattern.exact(path)
    assert pattern.text == escape(path)
    assert pattern.kind is Kind.EXACT
    assert pattern.matches(path)
    assert pattern.matches(other) is (path == other)
    assert root(pattern) == path


@given(st.text("ab*?", min_size=1, max_size=6), st.text("ab\n.", min_size=1, max_size=6))
def test_stars_are_as_the_standard_library_has_them(glob, name):
    if "**" not in glob and name not in (".", ".."):
        assert Pattern.parse(f"/{glob}").matches(f"/{name}") is fnmatch.fnmatchcase(name, glob)


@given(st.text("/a*?[]\\${}HOMEUSR.!^-\0é\ud800", max_size=12))
def test_any_text_is_a_pattern_or_bad_input(text):
    try:
        pattern = Pattern.parse(text)
    except BadInput as error:
        assert error.problems
    else:
        assert Pattern.parse(pattern.text) == pattern
        assert covers(pattern, pattern)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("/usr/lib/**", "/usr/lib"),
        ("/usr/*", "/usr"),
        ("/usr/l*/x", "/usr"),
        ("/**", "/"),
        ("/*", "/"),
        (r"/a\*/b", "/a*/b"),
        ("/var/mail/${USER}/x", "/var/mail"),
        ("${HOME}/x", "/"),
    ],
)
def test_root(text, base):
    assert root(Pattern.parse(text)) == base


def calls(function):
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


def test_a_set_is_asked_in_time_that_does_not_grow_with_it():
    def questions(size):
        texts = [f"/srv/d{number}/x" for number in range(size)]
        texts += [f"/srv/e/{number}-*" for number in range(size)]
        texts += [f"/srv/*-{number}/**" for number in range(size)]
        found = PatternSet(map(Pattern.parse, texts))
        assert len(found) == 3 * size
        assert [one.text for one in found.granting("/srv/d7/x/y")] == ["/srv/d7/x"]
        assert [one.text for one in found.granting("/srv/e/8-z")] == ["/srv/e/8-*"]
        assert [one.text for one in found.granting("/srv/a-9/z")] == ["/srv/*-9/**"]
        return calls(lambda: [found.granting(f"/srv/d{number}/x") for number in range(10)])

    assert questions(4000) < 1.5 * questions(40)


def test_what_covers_is_found_in_time_that_does_not_grow_with_the_set():
    def questions(size):
        texts = [f"/srv/d{number}" for number in range(size)]
        texts += [f"/srv/e/{number}-*" for number in range(size)]
        found = PatternSet(map(Pattern.parse, texts))
        asked = [Pattern.parse(text) for text in ("/srv/d7/*.x", "/srv/d8/y", "/srv/e/9-a*")]
        assert [[one.text for one in found.covering(pattern)] for pattern in asked] == [
            ["/srv/d7"],
            ["/srv/d8"],
            ["/srv/e/9-*"],
        ]
        return calls(lambda: [found.covering(pattern) for pattern in asked])

    assert questions(4000) < 1.5 * questions(40)
