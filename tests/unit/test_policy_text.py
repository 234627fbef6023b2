import math
import time
from enum import StrEnum
from io import StringIO

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.yaml import events, source, text
from scmm_oci.policy.yaml.source import load
from scmm_oci.policy.yaml.text import Flow, FlowList, dump
from scmm_oci.schema import Found, Kind

# Words that one reader or another takes for something else than text, and characters that mean something.
PLAIN = (
    "yes no on off y n Y N true True NULL null ~ 0 1 -1 +1 0x1f 0o17 0b1 017 1_000 1:30 1.0 1e3 .5 5. .inf -.INF .nan "
    "2026-01-01 2026-01-01T00:00:00Z << = - -- --- ... ? : :: ::1 fe80:: a:b a: :a #a a#b *a &a !a !!str %a @a `a | > "
    "'a \"a [a ]a {a }a ,a a, a]b a}b /usr/lib 10.0.0.0/8 0/1 1./2 1e3/ 0x1/2 ${HOME}/.cache @file-io /proc/[0-9]*/x "
    "$a _ a=b \\ \\n a\\b C:\\ (a) a~ ~a -a a- .a ..a/b"
)
SPACED = ["", " ", "a ", " a", "a b", "a  b", "a\tb", "a: b", "a #b", "a\nb", "\n", "a\n", "\r", "- a", "? a", "a, b"]
WORDS = [*PLAIN.split(" "), *SPACED]
ODD = "\x00\x07\x1b\x7f\x80\x85\x9f\xa0\xad\u2028\u2029\ufeff\u200b\u202e\ufffe\uffff\U0001f600\U000e0001\U0010ffffäß中"
texts = st.sampled_from(WORDS) | st.text() | st.text(alphabet=ODD) | st.text("ab-.:#/0 _x[]{},'\"\n", max_size=8)
scalars = texts | st.integers() | st.booleans() | st.none()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts, inner, max_size=3)
        | st.lists(inner, max_size=3).map(FlowList)
        | st.dictionaries(texts, inner, max_size=3).map(Flow)
    ),
    max_leaves=12,
)
documents = st.dictionaries(texts, values, max_size=4)


def same(one, other):
    """Equal in every type: True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def ours(data):
    return load(data.decode(), source="").value


def yaml_1_1(data):
    return yaml.load(data, yaml.CSafeLoader)


def yaml_1_2(data):
    return YAML(typ="safe", pure=True).load(StringIO(data.decode()))


def pure_yaml_1_1(data):
    return yaml.safe_load(data)


READERS = (ours, yaml_1_1, pure_yaml_1_1, yaml_1_2)


@given(documents)
def test_every_reader_reads_what_was_written(document):
    data = dump(document)
    for reader in READERS:
        assert same(reader(data), document), reader
    assert dump(document) == data


@pytest.mark.parametrize("word", [*WORDS, *ODD])
def test_words_that_could_be_something_else(word):
    document = {"a": word, "b": [word], "c": FlowList([word]), "d": Flow({word: word}), word + "'": {word: [[word]]}}
    for reader in READERS:
        assert same(reader(dump(document)), document), reader


@given(st.text())
def test_what_is_written_is_safe_to_print_and_one_line(word):
    line = dump({"a": word}).decode()
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1
    assert not set(line) & set("\x1b\x85\u2028\u202e\ufeff\x00")


def test_layout():
    class Word(StrEnum):
        ALLOW = "allow"

    document = {
        "version": "1.0",
        "settings": {"errno": "EPERM", "log": False, "none": None, "empty": {}, "nothing": []},
        "syscalls": [
            Flow(name="openat", action=Word.ALLOW, origin=Flow(count=12, phases=["app"])),
            {"name": "clone", "constraints": [Flow(arg="0")], "more": {"a": [[1, 2], [3]]}},
        ],
        "access": FlowList(["read_file", "read_dir"]),
        "ports": (80,),
    }
    assert (
        dump(document, header="What a program may do.\n\n# As it is\n")
        == b"""\
# What a program may do.

# As it is
version: "1.0"
settings:
  errno: EPERM
  log: false
  none: null
  empty: {}
  nothing: []
syscalls:
  - {name: openat, action: allow, origin: {count: 12, phases: [app]}}
  - name: clone
    constraints:
      - {arg: "0"}
    more:
      a:
        - - 1
          - 2
        - - 3
access: [read_file, read_dir]
ports:
  - 80
"""
    )
    assert dump({}) == b"{}\n"


def test_plain_where_people_expect_it():
    plain = ["/usr/lib/x86_64-linux-gnu/libc.so.6", "read_file", "CAP_NET_ADMIN", "10.0.0.0/8", "any", "$HOME/a+b",
             "Policy for my application", "x86_64", "/a/*.so"[:3]]  # fmt: skip
    assert dump({"a": plain}).decode().splitlines()[1:] == [f"  - {word}" for word in plain]


def test_comments():
    document = {"a": {"b": 1, "c": [Flow(x=1), {"k": 2, "z": 3}]}, "d": FlowList([1])}
    comments = {
        ("a",): "\nfirst",
        ("a", "b"): "two\nlines",
        ("a", "c", 0): "one",
        ("a", "c", 1): "rule",
        ("a", "c", 1, "k"): "key",
        ("a", "c", 1, "z"): "# kept",
        ("d",): "evil\x1b[0m\r\u2028b: 1\nc\n",
    }
    data = dump(document, comments=comments)
    assert (
        data.decode()
        == """\

# first
a:
  # two
  # lines
  b: 1
  c:
    # one
    - {x: 1}
    # rule
    -
      # key
      k: 2
      # kept
      z: 3
# evil\\x1b[0m\\r\\u2028b: 1
# c
d: [1]
"""
    )
    for reader in READERS:
        assert reader(data) == document


@pytest.mark.parametrize("path", [("b",), ("d", 0), ("e", "x"), ("a", 7), ()])
def test_a_comment_without_a_line_is_not_dropped(path):
    with pytest.raises(ValueError, match="comments without a line of their own"):
        dump({"a": [1], "d": FlowList([1]), "e": Flow(x=1)}, comments={path: "lost"})


@pytest.mark.parametrize("value", [1.0, b"a", {1}, object(), {1: 2}, Flow({None: 1})])
def test_what_is_not_written(value):
    for document in ({"a": value}, {"a": [value]}, {"a": FlowList([value])}):
        with pytest.raises(TypeError, match="is not written to YAML"):
            dump(document)


def test_half_a_surrogate_pair_is_not_written():
    with pytest.raises(UnicodeEncodeError):
        dump({"a": "\ud800"})


def test_long_keys():
    # Readers look for a key's colon in 1024 characters only.
    for key in ("k" * 900, "k" * 5000, "\x07" * 400):
        document = {key: {key: 1, "b": [Flow({key: [1]}), {key: 2}]}}
        for reader in READERS:
            assert same(reader(dump(document)), document)


def test_a_hundred_thousand_rules():
    rules = [
        Flow(path=f"/srv/{i % 317}/file-{i}.dat", access=FlowList(["read_file"]), origin=Flow(count=i))
        for i in range(100_000)
    ]
    document = {"filesystem": {"rules": rules}}
    began = time.process_time()
    data = dump(document)
    wrote = time.process_time()
    loaded = load(data.decode(), source="")
    read = time.process_time()
    assert loaded.value == document
    found = [Found(("filesystem", "rules", i, "access", 0), Problem("", "bad")) for i in (3, 99_999)]
    assert [problem.place for problem in loaded.problems(found)] == [
        "line 6, column 42, .filesystem.rules[3].access[0]",
        f"line 100002, column {data.splitlines()[-1].index(b'read_file') + 1}, .filesystem.rules[99999].access[0]",
    ]
    # Some ten times what it takes, and a tenth of what ruamel.yaml does.
    assert wrote - began < 15
    assert read - wrote < 30


# What YAML 1.2's core schema says of plain scalars, where YAML 1.1 or ruamel.yaml say something else.
@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("n", "n"), ("TRUE", True), ("False", False), ("tRUE", "tRUE"),
        ("~", None), ("Null", None), ("", None), ("nULL", "nULL"),
        ("0777", 777), ("-0", 0), ("+12", 12), ("0o17", 15), ("0x1F", 31), ("-0x1", "-0x1"), ("0b1", "0b1"),
        ("1_000", "1_000"), ("1:30", "1:30"), ("0o8", "0o8"), ("0xg", "0xg"),
        ("1.", 1.0), (".5", 0.5), ("-1.5e3", -1500.0), ("1e3", 1000.0), ("1e", "1e"), (".", "."),
        ("+", "+"), ("-.", "-."),
        (".inf", math.inf), ("-.INF", -math.inf), (".NaN", math.nan), ("+.nan", "+.nan"),
        ("inf", "inf"), ("nan", "nan"),
        ("2026-01-01", "2026-01-01"), ("=", "="), ("<<", "<<"), ("٣", "٣"),
    ],
)  # fmt: skip
def test_plain_scalars_by_the_core_schema(plain, value):
    assert same(load(f"a: {plain}\nb: [{plain or 'null'}]", source="").value, {"a": value, "b": [value]})
    if plain:
        assert load(f"a: '{plain}'\nb: \"{plain}\"", source="").value == {"a": plain, "b": plain}


@pytest.mark.parametrize("written", ["[::1, a]", "[a, fe80::]", "[2001:db8::/32, ::]"])
def test_colons_that_libyaml_does_not_know(written):
    value = [word.strip() for word in written.strip("[]").split(",")]
    loaded = load(f"# x\na: {written}\nb: 1", source="")
    assert loaded.value == {"a": value, "b": 1}
    found = [Found(("b",), Problem("", "bad"), Kind.KEY), Found(("a", 1), Problem("", "bad"))]
    assert [one.place for one in loaded.problems(found)] == [
        f"line 2, column {4 + written.rindex(value[1])}, .a[1]",
        "line 3, column 1, .b",
    ]


def problems(written):
    with pytest.raises(BadInput) as caught:
        load(written, source="p")
    return [str(problem) for problem in caught.value.problems]


def test_every_problem_at_once_up_to_where_reading_ends():
    written = "%YAML 1.1\n---\na: !x 1\nb: [*c, 1]\nb: &c 2\n1: 3\n'<<': 1\n<<: {}\nc: 0x" + "f" * 200 + "\nd: ["
    assert [problem.split(" (")[0] for problem in problems(written)] == [
        "line 1, column 1: is a YAML directive, and those are not read",
        "line 3, column 4, .a: has a tag, and tags are not read",
        "line 4, column 5, .b[0]: is an alias, and aliases are not read",
        "line 5, column 1, .b: stands twice in one mapping",
        "line 6, column 1, .1: is a key that is not text",
        "line 8, column 1, .<<: stands twice in one mapping",
        "line 9, column 4, .c: is a number of 202 digits, and 100 are the most that is read",
        "line 10, column 5: is not YAML: expected the node content",
    ]
    assert problems("&a b: 1\nc: &a\n  d: &e []") == [
        f"line {where}: has an anchor, and aliases to it are not read (leave it out)"
        for where in ("1, column 1, .b", "2, column 4, .c")
    ]
    assert problems("<<: {}") == ["line 1, column 1, .<<: is a merge key, and those are not read (write it out)"]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x85", "\u2028", "\u2029", "\ufeff", "\ufffe", "\ud800"])
def test_characters_that_readers_take_for_different_things(character):
    escape = character.encode("unicode_escape").decode()
    (problem,) = problems(f"a: 1\r\n# all is well{character}b: 2\n")
    assert problem.startswith(f"line 2, column 14: is not YAML: has the character {escape}")
    if character != "\ud800":
        assert load(f'a: "{escape}"', source="").value == {"a": character}


@pytest.mark.parametrize(
    "written",
    [
        "[" * 100_000, "- " * 100_000, "? " * 100_000, "{a: " * 100_000, "[::1," + "[" * 3000,
        "a: 1\n" * 5000, "\x01" * 5000,
        "[*a, " * 10 + "*a," * 5000, "%\n" * 5000, "'" + "a" * 100_000, '"\\ud800', '"\\U00110000"', "[\n" * 20_000,
        "a: 9" + "9" * 1_000_000 + ".5", "[::1]\n---\n%YAML 1.9\n---\n", "\ud800", "[::1, '\\ud800', \"\\ud800\"]",
    ],
)  # fmt: skip
def test_hostile_texts_are_refused_quickly_and_in_few_words(written):
    began = time.process_time()
    found = problems(written)
    assert time.process_time() - began < 20
    assert 1 <= len(found) <= 1001
    assert max(map(len, found)) < 500


@given(
    st.lists(st.sampled_from([*"[]{},:#&*!|>'\"%@`?-~ \n\t\\0a.", ": ", "\n  ", "::1", "- ", "\\ud800"]), max_size=20)
)
def test_both_parsers_give_the_same_values_or_a_place(pieces):
    def read(parser):
        try:
            return load(written, source="").value
        except BadInput as error:
            assert all(problem.message for problem in error.problems)
            return BadInput

    # Below a key: of a block scalar that is the whole document, libyaml does not take lines that are not indented.
    written = "a:\n  b: " + "".join(pieces)
    quickly = read(events.quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "quick", events.slow)
        slowly = read(events.slow)
    # ruamel.yaml refuses some of what it should not (tabs at a line's end).
    assert slowly is BadInput or same(quickly, slowly)


def test_without_libyaml(monkeypatch):
    monkeypatch.setattr(events, "CParser", None)
    assert load("a: [::1, {b: yes}]", source="").value == {"a": ["::1", {"b": "yes"}]}
    assert problems("a: !x 1\na: 2\nb: [")[:2] == [
        "line 1, column 4, .a: has a tag, and tags are not read (leave it out, and write text in quotes)",
        "line 2, column 1, .a: stands twice in one mapping",
    ]


def test_pieces_for_other_writers():
    assert text.block({"a": [1, Flow(b=2)]}, 2) == ["  a:", "    - 1", "    - {b: 2}"]
    assert text.block([{"a": 1, "b": 2}], 4) == ["    - a: 1", "      b: 2"]
    assert text.inline({"a": [True, None, "no"]}) == '{a: [true, null, "no"]}'
