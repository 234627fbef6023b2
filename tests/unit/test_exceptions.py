"""Exceptions of path rules: what they are lowered to grants, what can be none, and what the rest makes of them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scmm_oci.compiled.landlock import ruleset
from scmm_oci.compiled.polfile.model import PathKind
from scmm_oci.compiled.polfile.paths import from_pattern, to_text
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.admit import Files
from scmm_oci.policy.diff import differences
from scmm_oci.policy.lint import lint
from scmm_oci.policy.merge import files
from scmm_oci.policy.model import OnMissing, PathRule, Policy
from scmm_oci.policy.paths.exceptions import lowered
from scmm_oci.policy.paths.patterns import Kind, Pattern, escape
from scmm_oci.policy.yaml.edit import update

READ = ("read_file",)
BASES = ("/", "/d", "/d/é")
NAMES = st.text("ab.é€\\!^-][*$?\udcff\n", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


def excepted(path: str, *excluded: str, access: tuple[str, ...] = READ) -> PathRule:
    return PathRule(path, access, excluded=excluded)


def within(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")


@st.composite
def trees(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A directory, and paths beneath of which none is beneath another, as files have them."""
    base = draw(st.sampled_from(BASES))
    found: list[str] = []
    for names in draw(st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=6)):
        path = f"{base.rstrip('/')}/{'/'.join(names)}"
        if not any(within(path, other) or within(other, path) for other in found):
            found.append(path)
    return base, found


def rule_of(base: str, found: list[str], *, beneath: bool = True) -> PathRule:
    end = "/**" if beneath else ""
    return excepted((base.rstrip("/") + end) or "/", *map(escape, found))


@st.composite
def near(draw: st.DrawFn, base: str, found: list[str]) -> str:
    """A path that has to do with the exceptions: one of them, cut and changed in a name."""
    if draw(st.booleans()):
        names = draw(st.sampled_from(found)).split("/")[1:]
        names = names[: draw(st.integers(0, len(names)))]
        if names:
            last = names[-1][: draw(st.integers(0, len(names[-1])))] + draw(st.just("") | NAMES)
            names = [*names[:-1], last] if last not in ("", ".", "..") else names
        names += draw(st.lists(NAMES, max_size=1))
        return "/" + "/".join(names)
    return f"{base.rstrip('/')}/{'/'.join(draw(st.lists(NAMES, min_size=1, max_size=3)))}"


def should_grant(path: str, base: str, found: list[str]) -> bool:
    return within(path, base) and path != base and not any(within(path, one) or within(one, path) for one in found)


@settings(max_examples=300, deadline=None)
@given(trees(), st.data(), st.booleans())
@example(("/d", ["/d/.ssh", "/d/.config/secret"]), None, True)
def test_what_is_beside_is_granted_and_nothing_else(tree, data, beneath):
    base, found = tree
    rules = lowered(rule_of(base, found, beneath=beneath))
    assert all(one.excluded == () and one.access == READ for one in rules)
    assert len({one.path for one in rules}) == len(rules)
    patterns = [Pattern.parse(one.path) for one in rules]
    paths = (
        ["/d/.ssh", "/d/.ss", "/d/.sshd/x", "/d/.config", "/d/.config/a", "/d"]
        if data is None
        else [data.draw(near(base, found)) for _ in range(5)]
    )
    for path in [*paths, *found, base]:
        wanted = should_grant(path, base, found)
        granting = [one for one in patterns if one.grants(path)]
        assert bool(granting) is wanted, path
        # A file and a directory of that name are granted alike; a compiled rule for files is for no directory.
        kinds = {one.kind for one in granting}
        own = Kind.FILES in kinds or any(one.grants(path) and not one.matches(path) for one in granting)
        assert not wanted or Kind.EXACT in kinds or (Kind.BENEATH in kinds and own), path


@settings(max_examples=100, deadline=None)
@given(trees())
def test_the_compiled_rules_are_the_same_patterns(tree):
    rule = rule_of(*tree)
    made, findings = ruleset(Policy(filesystem=(rule,)))
    assert made is not None and findings == []
    texts = {one.path for one in lowered(rule)}
    assert {from_pattern(Pattern.parse(text)) for text in texts} == {(one.components, one.kind) for one in made.paths}
    # They come back from a compiled policy as patterns that can be read.
    for one in made.paths:
        assert from_pattern(Pattern.parse(to_text(one.components, one.kind))) == (one.components, one.kind)


def test_lowered_rules_as_they_are():
    found = [one.path for one in lowered(excepted("/d/**", "/d/ab", "/d/a", "/d/.c/k"))]
    assert found == [
        *("/d/[!.a]*", "/d/[!.a]*/**", "/d/.[!c]*", "/d/.[!c]*/**", "/d/.c?*", "/d/.c?*/**"),
        *("/d/a[!b]*", "/d/a[!b]*/**", "/d/ab?*", "/d/ab?*/**"),
        *("/d/.c/[!k]*", "/d/.c/[!k]*/**", "/d/.c/k?*", "/d/.c/k?*/**"),
    ]
    assert [one.path for one in lowered(excepted("${HOME}/**", "${HOME}/ab"))][:4] == [
        *("${HOME}/[!a]*", "${HOME}/[!a]*/**", "${HOME}/a", "${HOME}/a[!b]*")
    ]
    plain = PathRule("/d/**", READ, OnMissing.PARENTDIR)
    assert lowered(plain) == (plain,)
    # A name that is as long as names can be has none that go on behind it.
    long = "n" * 255
    texts = [one.path for one in lowered(excepted("/d/**", f"/d/{long}"))]
    assert f"/d/{long[:-1]}[!n]*" in texts and f"/d/{long}?*" not in texts
    assert ruleset(Policy(filesystem=(excepted("/d/**", f"/d/{long}"),)))[1] == []


def test_of_rights_that_only_directories_have_no_rule_for_files_is_made():
    made, findings = ruleset(Policy(filesystem=(excepted("/d/**", "/d/a", access=("read_dir", "make_reg")),)))
    assert made is not None and findings == []
    assert {one.kind for one in made.paths} == {PathKind.BENEATH}


def text(*rules: str) -> bytes:
    return ("version: '1.0'\nfilesystem:\n  rules:\n" + "".join(f"  - {{{one}}}\n" for one in rules)).encode()


def problems(*rules: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        document.parse(text(*rules))
    return [str(one) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("path: /d/**, except: [/e/x]", "'/e/x' is not beneath '/d/**'"),
        ("path: /d/**, except: [/d2/x]", "'/d2/x' is not beneath"),
        ("path: /d/**, except: [/d]", "'/d' is the path of the rule itself"),
        ("path: /d/**, except: [/d/*]", "'/d/*' is no exact path"),
        ("path: /d/**, except: ['/d/x/**']", "'/d/x/**' is no exact path"),
        ("path: /d/**, except: ['/d/${USER}']", "'/d/${USER}' is no exact path"),
        ("path: /d/**, except: ['${HOME}/x']", "${HOME} is to be in both, or in none"),
        ("path: '${HOME}/**', except: [/d/x]", "${HOME} is to be in both, or in none"),
        ("path: /d/**, except: [d/x]", "'d/x' is not an absolute path"),
        ("path: /d/**, except: [/d/../x]", "'/d/../x' has the component '..'"),
        ("path: /d/**, except: [/d/x, /d/y, /d/x]", "except[2]: '/d/x' is excepted already, by [0]"),
        ("path: /d/**, except: [/d/x, /d/x/y]", "except[1]: '/d/x/y' is beneath '/d/x', which is excepted as a whole"),
        ("path: /d/**, except: [/d/x/y, /d/x]", "except[1]: '/d/x/y' is beneath '/d/x', which is excepted as a whole"),
        ("path: /*/d, except: [/a/d/x]", "exceptions need a path without wildcards and variables"),
        ("path: /d/*, except: [/d/x]", "exceptions need a path without wildcards and variables"),
        ("path: '/run/${USER}', except: [/run/a/x]", "exceptions need a path without wildcards and variables"),
        ("path: /d/**, on_missing: parentdir, except: [/d/x]", "is skipped where its path is missing, not parentdir"),
        ("path: /d/**, except: []", "except"),
        (f"path: /d/**, except: [{', '.join(f'/d/{one}' for one in range(65))}]", "except"),
    ],
)
def test_what_can_be_no_exception(rule, said):
    (found,) = problems(f"{rule}, access: [read_file]")
    assert said in found and found.startswith("line 4, column ") and ".filesystem.rules[0].", found


def test_all_problems_are_told_at_once():
    found = problems(
        "path: /d/**, access: [read_file], on_missing: precreate, except: [/e, /d, 7, /d/x*]",
        "path: /d/*x, access: [read_file], except: [/d/a]",
    )
    assert len(found) == 6
    for place in ("[0].on_missing", "[0].except[0]", "[0].except[1]", "[0].except[2]", "[0].except[3]", "[1].except"):
        assert sum(f".filesystem.rules{place}:" in one for one in found) == 1, (place, found)


def test_64_are_taken_and_kept():
    many = [f"/d/{one}" for one in range(64)]
    policy = document.parse(text(f"path: /d, access: [read_file], except: [{', '.join(many)}]"))
    assert policy.filesystem == (excepted("/d", *many),)
    assert document.parse(document.dump(policy)) == policy
    line = "path: '${HOME}/**', access: [read_file], except: ['${HOME}/.ssh', '${HOME}/a\\*']"
    policy = document.parse(text(line))
    assert document.parse(document.dump(policy)) == policy
    assert document.parse(document.dump(Policy(filesystem=(PathRule("/d", READ),)))).filesystem[0].excluded == ()


def test_there_is_an_end_to_what_they_can_become():
    deep = [f"/d/{one}{'/x' * 1900}" for one in "ab"]
    for paths in ([f"/d/{one:02}{'n' * 250}" for one in range(64)], [one + "yz" for one in deep]):
        (found,) = problems(f"path: /d/**, access: [read_file], except: [{', '.join(paths)}]")
        assert ".except: what is beside them takes more than 8192 rules" in found
    policy = document.parse(text(f"path: /d/**, access: [read_file], except: [/d{'/x' * 150}]"))
    made, findings = ruleset(policy)
    assert made is not None and findings == [] and len(made.paths) == 600
    odd = "\\\\x80" * 255
    base = f"/four/{odd}/{odd}/{odd}/{odd}"
    (found,) = problems(f'path: "{base}/**", access: [read_file], except: ["{base}/a"]')
    assert ".except: a rule for what is beside them has more characters than a path may" in found


def test_an_update_keeps_them_and_their_comment():
    old = b"""\
version: "1.0"
filesystem:
  rules:
  # keys stay here
  - {path: "/d/**", access: [read_file], except: ["/d/.ssh"]}  # mine
  - {path: "/d/**", access: [read_dir]}
"""
    from scmm_oci.policy.render import to_document

    policy = document.parse(old)
    more = Policy(filesystem=(*policy.filesystem, PathRule("/e", READ)))
    new = update(old, {**document_of(old), "filesystem": to_document(more)["filesystem"]})
    assert b'# keys stay here\n  - {path: "/d/**", access: [read_file], except: ["/d/.ssh"]}  # mine\n' in new
    assert document.parse(new).filesystem == more.filesystem


def document_of(data: bytes) -> dict[str, object]:
    from scmm_oci.policy.yaml.source import load

    value: dict[str, object] = load(data.decode(), source="").value
    return value


def test_what_a_policy_admits():
    granted = Files([excepted("/d/**", "/d/.ssh", "/d/c/key")])
    assert all(granted.rights(path) == {"read_file"} for path in ("/d/x", "/d/.s", "/d/c/x/y", "/d/c/key2"))
    for path in ("/d", "/d/c", "/d/c/key", "/d/c/key/x", "/d/.ssh", "/d/.ssh/id", "/e"):
        assert granted.rights(path) == frozenset(), path
    # What is made beside them after the start has nothing, nor what is in it; what is made deeper has.
    assert granted.rights("/d/new", made={"/d/new"}) == granted.rights("/d/new/x", made={"/d/new"}) == frozenset()
    assert granted.rights("/d/x/new", made={"/d/x/new"}) == {"read_file"}
    both = Files([excepted("/d/**", "/d/.ssh"), PathRule("/d/.ssh/known", READ)])
    assert both.rights("/d/.ssh/known") == {"read_file"} and both.rights("/d/.ssh/id") == frozenset()


def one(rule: PathRule) -> tuple[PathRule, ...]:
    return files.union([rule])


def test_a_union_keeps_rules_of_different_exceptions_apart():
    a, b = excepted("/d/**", "/d/a", "/d/b"), excepted("/d/**", "/d/a", access=("execute",))
    plain = PathRule("/d/**", ("read_dir",))
    assert files.union([a], [b], [plain]) == (plain, b, a)
    turned = excepted("/d/**", "/d/b", "/d/a", access=("execute",))
    assert files.union([a], [turned]) == (excepted("/d/**", "/d/a", "/d/b", access=("execute", "read_file")),)


def test_intersections_have_the_exceptions_of_both():
    a, b = excepted("/d/**", "/d/a"), excepted("/d/**", "/d/b", "/d/a/x")
    assert files.intersection([a], [b]) == files.intersection([b], [a]) == (one(excepted("/d/**", "/d/a", "/d/b")), ())
    assert (
        files.intersection([a], [PathRule("/d", READ)])[0]
        == one(a)
        == files.intersection([PathRule("/", READ)], [a])[0]
    )
    deep = excepted("/d/**", "/d/c/key", "/d/a")
    assert files.intersection([deep], [PathRule("/d/c", READ)]) == (one(excepted("/d/c", "/d/c/key")), ())
    assert files.intersection([deep], [PathRule("/d/x/y", READ)]) == (one(PathRule("/d/x/y", READ)), ())
    for nothing in ("/d/a", "/d/a/x", "/d/c/key/z", "/e"):
        assert files.intersection([deep], [PathRule(nothing, READ)]) == ((), ()), nothing
    # Patterns are compared with what the rule is lowered to; what cannot be written is told.
    assert files.intersection([excepted("/d/**", "/d/.a")], [PathRule("/d/x*", READ)]) == (
        one(PathRule("/d/x*", READ)),
        (),
    )
    assert files.intersection([excepted("/d/**", "/d/.a")], [PathRule("/d/*.so", READ)])[1] != ()


RULES = st.lists(
    st.builds(
        lambda rule, access: PathRule(rule.path, access, rule.on_missing, excluded=rule.excluded),
        st.sampled_from(
            [
                *(PathRule(path, READ) for path in ("/", "/d/**", "/d/c", "/d/c/key", "/d/*", "/d/x", "/e")),
                PathRule("/d/x", READ, OnMissing.PARENTDIR),
                *(excepted("/d/**", *some) for some in (["/d/a"], ["/d/c/key"], ["/d/a", "/d/c"], ["/d/ab", "/d/c/k"])),
                *(excepted("/d/c", *some) for some in (["/d/c/key"], ["/d/c/x/y"])),
                excepted("/**", "/d/c"),
            ]
        ),
        st.sampled_from([("read_file",), ("execute", "read_file"), ("execute",)]),
    ),
    max_size=3,
).map(tuple)
PATHS = (
    "/",
    "/d",
    "/d/a",
    "/d/ab",
    "/d/x",
    "/d/x/y",
    "/d/c",
    "/d/c/key",
    "/d/c/k",
    "/d/c/x",
    "/d/c/x/y",
    "/d/c/x/z",
    "/e",
)


@settings(max_examples=200, deadline=None)
@given(RULES, RULES, RULES)
def test_laws(a, b, c):
    assert files.union(a, b) == files.union(b, a) and files.union(a, a) == files.union(a)
    assert files.union(files.union(a, b), c) == files.union(a, files.union(b, c))
    both, cut = files.intersection(a, b)
    assert both == files.intersection(b, a)[0]
    mine, theirs, joined, common = (Files(rules) for rules in (a, b, files.union(a, b), both))
    less = Files([*files.difference(a, b), *b])
    for path in PATHS:
        assert joined.rights(path) == mine.rights(path) | theirs.rights(path), path
        wanted = mine.rights(path) & theirs.rights(path)
        # A directory above that only one of them reaches is left out.
        above = any(rule.on_missing is OnMissing.PARENTDIR for rule in (*a, *b))
        assert common.rights(path) <= wanted and (cut or above or common.rights(path) == wanted), path
        assert less.rights(path) >= mine.rights(path), path
    wider = [found for found in differences(Policy(filesystem=a), Policy(filesystem=b)) if found.wider]
    assert wider or all(theirs.rights(path) <= mine.rights(path) for path in PATHS)


def told(*pair: PathRule) -> list[tuple[str, str, str, str, bool]]:
    before, after = (Policy(filesystem=(rule,)) for rule in pair)
    return [(one.what, one.kind.value, one.before, one.after, one.wider) for one in differences(before, after)]


def test_a_difference_is_told_wider_or_narrower():
    plain, a, ab = PathRule("/d/**", READ), excepted("/d/**", "/d/a"), excepted("/d/**", "/d/a", "/d/b")
    words = ("read_file", "read_file except /d/a", "read_file except /d/a, /d/b")
    assert told(plain, a) == [("/d/**", "changed", words[0], words[1], False)]
    assert told(a, plain) == [("/d/**", "changed", words[1], words[0], True)]
    assert told(a, ab) == [("/d/**", "changed", words[1], words[2], False)]
    assert told(ab, a) == [("/d/**", "changed", words[2], words[1], True)]
    assert told(a, excepted("/d/**", "/d/b"))[0][4] is True
    assert told(ab, excepted("/d/**", "/d/b", "/d/a")) == []


def lints(*rules: PathRule) -> set[tuple[str, str]]:
    return {(one.id, one.place) for one in lint(Policy(filesystem=rules)) if one.place.startswith("filesystem")}


def test_lint_sees_what_is_granted():
    price = ("except-is-for-what-is-there", "filesystem: /run/**")
    assert ("secret-readable", "filesystem: /run/**") in lints(PathRule("/run/**", READ))
    assert lints(excepted("/run/**", "/run/secrets")) == {price, ("protected-root", "filesystem: /run/**")}
    assert ("secret-readable", "filesystem: /run/**") in lints(excepted("/run/**", "/run/other"))
    a = excepted("/d/**", "/d/a", access=("execute",))
    written = PathRule("/d/a/x", ("write_file",))
    assert not any(found == "write-exec-file" for found, _ in lints(a, written))
    assert ("write-exec-file", "filesystem: /d/**") in lints(a, PathRule("/d/b/x", ("write_file",)))
    # A rule that is covered, and one that only the exception would be.
    assert ("covered-rule", "filesystem: /d/b/x") in lints(excepted("/d/**", "/d/a"), PathRule("/d/b/x", READ))
    assert ("covered-rule", "filesystem: /d/a/x") not in lints(excepted("/d/**", "/d/a"), PathRule("/d/a/x", READ))
    assert ("covered-rule", "filesystem: /d/**") in lints(excepted("/d/**", "/d/a"), PathRule("/d", READ))
