"""Exceptions of a rule against this kernel: on real trees, the rules that they are lowered to grant what is beneath the
directory and beside the exceptions, as a reckoning by names says that knows nothing of patterns."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import enforce
import pytest
from enforce import bytes_of, run
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from scmm_oci.policy import document
from scmm_oci.policy.model import PathRule, Policy
from scmm_oci.policy.paths.patterns import escape

# Few letters, so that names begin alike; every byte that a name can have; and names as long as there can be.
ALIKE = st.lists(
    st.sampled_from([b"a", b"b", b".", b"\xc3", b"\xa9", b"\xff", b"*", b"[", b"\\"]), min_size=1, max_size=4
)
NAMES = st.one_of(
    ALIKE.map(b"".join),
    ALIKE.map(b"".join),
    st.lists(st.integers(1, 255).filter(lambda one: one != ord("/")), min_size=1, max_size=3).map(bytes),
    st.sampled_from(
        [b"a" * 255, b"a" * 254, b"a" * 254 + b"b", b"...", b"..a", b".a", b"$", b"${HOME}", b"**", b"]", b"!", b"^"]
    ),
).filter(lambda name: name not in (b".", b".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(tuple)
RIGHTS = ("read_file", "read_dir")


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


@pytest.fixture
def directory():
    with enforce.place() as found:
        yield found


@st.composite
def cases(draw):
    """Files of a tree by their names, and what is excepted of it: files, directories and paths that are not there."""
    files: list[tuple[bytes, ...]] = []
    for path in draw(st.lists(PATHS, min_size=1, max_size=12)):
        if not any(path[: len(one)] == one or one[: len(path)] == path for one in files):
            files.append(path)
    cut = st.sampled_from(files).flatmap(lambda path: st.integers(1, len(path)).map(lambda end: path[:end]))
    gone = cut.flatmap(lambda path: NAMES.map(lambda name: (*path[:-1], name)))
    deeper = cut.flatmap(lambda path: NAMES.map(lambda name: (*path, name)))
    excepted: list[tuple[bytes, ...]] = []
    for path in draw(st.lists(st.one_of(cut, cut, gone, deeper), min_size=1, max_size=5)):
        if not any(path[: len(one)] == one or one[: len(path)] == path for one in excepted):
            excepted.append(path)
    return files, excepted


@st.composite
def linked(draw):
    """The same, and links: where each is, and what it leads to of the tree; None is outside of it."""
    files, excepted = draw(cases())
    directories = sorted({one[:end] for one in files for end in range(len(one))})
    there = {one[:end] for one in files for end in range(1, len(one) + 1)}
    targets = st.one_of(st.none(), st.sampled_from([*directories, *files]), st.sampled_from(excepted))
    links: dict[tuple[bytes, ...], tuple[bytes, ...] | None] = {}
    for where in draw(st.lists(st.tuples(st.sampled_from(directories), NAMES), max_size=4)):
        place = (*where[0], where[1])
        if place not in there:
            links[place] = draw(targets)
    return files, excepted, links


def joined(directory: Path, names: tuple[bytes, ...]) -> str:
    return os.fsdecode(b"/".join((os.fsencode(directory), *names)))


def is_granted(names: tuple[bytes, ...], excepted: list[tuple[bytes, ...]]) -> bool:
    """Beneath the directory, not excepted, not in what is, and not on the way to it."""
    if not names:
        return False
    for one in excepted:
        least = min(len(one), len(names))
        if one[:least] == names[:least]:
            return False
    return True


def read(rule: PathRule) -> tuple[PathRule, ...]:
    """The rule as it comes back from a policy's text, so that its check is asked, too."""
    found = document.parse(document.dump(Policy(filesystem=(rule,)))).filesystem
    assert found == (rule,)
    return found


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cases(), st.booleans())
@example(([(b".ssh", b"id"), (b".ss",), (b".sshd", b"x"), (b"a" * 255,)], [(b".ssh",), (b"a" * 254,)]), True)
@example(([(b"a", b"b", b"c", b"k"), (b"a", b"b", b"c", b"l"), (b"a", b"bb")], [(b"a", b"b", b"c", b"k")]), False)
@example(([(b"x",)], [(b"x",)]), True)
@example(([(b"...",), (b"..a",), (b".a",)], [(b"...", b"x"), (b"..ab",)]), True)
def test_on_a_real_tree(directory, case, beneath):
    files, excepted = case
    top = directory / "top"
    top.mkdir()
    try:
        paths: dict[tuple[bytes, ...], str] = {(): "list"}
        for names in files:
            Path(joined(top, names[:-1])).mkdir(parents=True, exist_ok=True)
            Path(joined(top, names)).write_text("content")
            paths |= {names[:end]: "list" for end in range(1, len(names))}
            paths[names] = "read"
        rule = PathRule(
            f"{escape(str(top))}{'/**' * beneath}",
            RIGHTS,
            excluded=tuple(escape(joined(top, one)) for one in excepted),
        )
        words = [word for names, act in paths.items() for word in (act, joined(top, names))]
        done = run(bytes_of(files=read(rule)), *words, mode="strict")
        assert (done.code, done.missing) == (0, [])
        wanted = {names: "ok" if is_granted(names, excepted) else "EACCES" for names in paths}
        assert dict(zip(paths, done.lines, strict=True)) == wanted
        # The control: without exceptions all of it is granted, by the same launcher.
        done = run(bytes_of(files=[PathRule(str(top), RIGHTS)]), *words, mode="strict")
        assert done.lines == ["ok"] * len(paths)
    finally:
        shutil.rmtree(top)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(linked())
@example(
    ([(b"k", b"id"), (b"f",)], [(b"k",)], {(b"l",): (b"k",), (b"i",): (b"k", b"id"), (b"g",): (b"f",), (b"o",): None})
)
@example(
    ([(b"a", b"x"), (b"d", b"y")], [(b"l", b"key")], {(b"l",): (b"d",), (b"d", b"up"): (), (b"m",): (b"l", b"key")})
)
def test_links_lead_to_nothing_more(directory, case):
    """What a link leads to has the rights that its own names give it, as with the rule without exceptions."""
    files, excepted, links = case
    top, outside = directory / "top", directory / "outside"
    top.mkdir()
    outside.write_text("content")
    try:
        for names in files:
            Path(joined(top, names[:-1])).mkdir(parents=True, exist_ok=True)
            Path(joined(top, names)).write_text("content")
        for place, target in links.items():
            os.symlink(outside if target is None else joined(top, target), joined(top, place))
        rule = PathRule(f"{escape(str(top))}/**", RIGHTS, excluded=tuple(escape(joined(top, one)) for one in excepted))
        words: list[str] = []
        wanted = []
        for path in [joined(top, one) for one in (*files, *links)]:
            real = os.path.realpath(path)
            if os.path.exists(real):
                words += ["list" if os.path.isdir(real) else "read", path]
                inside = os.path.relpath(os.fsencode(real), os.fsencode(top)).split(b"/")
                names = () if inside == [b"."] else tuple(inside)
                wanted.append("ok" if inside[0] != b".." and is_granted(names, excepted) else "EACCES")
        done = run(bytes_of(files=read(rule)), *words, mode="strict")
        assert (done.code, done.missing, done.lines) == (0, [], wanted)
        # The control: the directory with nothing excepted has all of that but what is outside.
        done = run(
            bytes_of(files=[PathRule(str(top), RIGHTS), PathRule(str(outside), RIGHTS[:1])]), *words, mode="strict"
        )
        assert done.lines == ["ok"] * len(wanted)
    finally:
        shutil.rmtree(top)


def test_what_is_made_after_the_start(directory):
    """Beside exceptions a new name gets nothing, in directories beside it does, and in what is excepted it does not."""
    for name in (".ssh", ".config/app", ".config/key", "doc"):
        (directory / name).mkdir(parents=True)
    excluded = (f"{directory}/.ssh", f"{directory}/.config/key", f"{directory}/gone")
    rule = PathRule(f"{directory}/**", ("read_file",), excluded=excluded)
    made = ("new", ".ssh/new", ".config/new", ".config/key/new", ".config/app/new", "doc/new", "gone", "gon")
    words = [word for one in made for word in ("create", directory / one, "read", directory / one)]
    # Another rule lets names be made everywhere.
    done = run(bytes_of(files=[*read(rule), PathRule(str(directory), ("make_reg",))]), *words, mode="strict")
    assert done.lines[::2] == ["ok"] * len(made)
    readable = {one for one, line in zip(made, done.lines[1::2], strict=True) if line == "ok"}
    assert readable == {".config/app/new", "doc/new"}
    # What is there when the program starts is beside them, whenever it was made; what is excepted stays so.
    done = run(bytes_of(files=read(rule)), *(word for one in made for word in ("read", directory / one)), mode="strict")
    readable = {one for one, line in zip(made, done.lines, strict=True) if line == "ok"}
    assert readable == {"new", ".config/new", ".config/app/new", "doc/new", "gon"}


def test_several_rules_each_with_its_own(directory):
    """Rules add up: what one excepts another grants, and nothing beyond that."""
    for name in ("a/x", "b/x", "c/x", "b/k"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("content")
    rules = (
        PathRule(f"{directory}/**", ("read_file",), excluded=(f"{directory}/a", f"{directory}/b")),
        PathRule(f"{directory}/b", ("read_file",), excluded=(f"{directory}/b/k",)),
    )
    words = [word for one in ("a/x", "b/x", "c/x", "b/k") for word in ("read", directory / one)]
    assert run(bytes_of(files=rules), *words, mode="strict").lines == ["EACCES", "ok", "ok", "EACCES"]


@settings(max_examples=50, deadline=None)
@given(cases())
def test_the_reckoning_is_none_of_patterns(case):
    """That the oracle can say both, and says no of every exception."""
    files, excepted = case
    assert not any(is_granted(one, excepted) or is_granted((*one, b"x"), excepted) for one in excepted)
    assume(not any(one[:1] == excepted[0][:1] for one in excepted[1:]))
    other = (excepted[0][0][:200] + b"z",)
    assert is_granted(other, [excepted[0]])
    assert files
