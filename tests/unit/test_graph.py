"""Drawings of machines: all that may follow is in them, nothing else, in the same bytes, and nothing overlaps."""

import os
import re
import subprocess
import sys
import time
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scmm_oci.compiled.graph import Part, page, picture, svg
from scmm_oci.compiled.graph.layout import CHARACTER, HEIGHT, ROW, layout, width_of
from scmm_oci.compiled.graph.model import MOST_STATES, Kind, joined, kind_of, listed
from scmm_oci.errors import BadInput
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.order import Table
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

SVG, HTML = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xhtml}"
CALLED = sorted(states.called(Arch.X86_64))
FEW = ["read", "write", "brk", "openat:read", "openat:write", "mmap:data", "mmap:exec", "ptrace", "clone", "futex"]
FROM = [*FEW, *states.BEGINNINGS]


def tables(words=FEW, most=12):
    rows = st.dictionaries(st.sampled_from(FROM), st.frozensets(st.sampled_from(words), min_size=1), max_size=most)
    pairs = st.tuples(st.sampled_from(FROM), st.sampled_from(words)).filter(lambda pair: pair[0] != pair[1])
    deep = st.dictionaries(pairs, st.frozensets(st.sampled_from(words), max_size=3), max_size=3)
    return st.builds(
        lambda rows, deep: Table(rows, {pair: to - {pair[1]} for pair, to in deep.items()}), rows, deep
    )  # fmt: skip


def of(table, serving=None, *, name="web", action=None, part=Part.BOTH):
    switches = frozenset({"listen"}) if serving is not None else frozenset()
    return picture(Machine(Arch.X86_64, table, serving, switches), name=name, action=action, part=part)


def dense(count, share=1.0):
    """A machine of so many states, in which so much of what could follow does."""
    words = (CALLED + [str(9000 + index) for index in range(count)])[:count]
    step = max(1, round(1 / share))
    return Table({word: frozenset(words[index % step :: step]) for index, word in enumerate(words)})


def drawn_edges(text):
    """The edges that the lines of a drawing with lines stand for, by its numbers and titles."""
    root = ElementTree.fromstring(text)
    names = {}
    edges = set()
    for group in root.iter(f"{SVG}g"):
        if "state" in group.get("class", "").split():
            name = group.find(f"{SVG}title").text.split("\n")[0]
            names[group.get("data-state")] = name
            label = group.find(f"{SVG}text")
            assert "".join(label.itertext()) == name
            if any(path.get("class") == "loop" for path in group.iter(f"{SVG}path")):
                edges.add((name, name))
    for path in root.iter(f"{SVG}path"):
        if path.get("data-to") is not None:
            edges.update((names[one], names[path.get("data-to")]) for one in path.get("data-from").split())
    return edges, set(names.values())


@given(tables())
@example(Table())
@example(Table({"read": frozenset({"read"})}))
@settings(deadline=None)
def test_lines_are_the_edges_and_boxes_the_states(table):
    edges, found = drawn_edges(svg(of(table)))
    shown = joined(table)
    assert edges == shown.edges
    assert found == shown.states


@given(tables(), st.none() | tables())
@settings(deadline=None, max_examples=40)
def test_pages_are_well_formed_and_squares_have_the_edges(table, serving):
    root = ElementTree.fromstring(page(of(table, serving)).partition("\n")[2])
    sections = list(root.iter(f"{HTML}section"))
    assert len(sections) == 1 + (serving is not None)
    for section, given_table in zip(sections, [table, serving], strict=False):
        shown = joined(given_table)
        matrix = [group for group in section.iter(f"{SVG}g") if group.get("class", "").startswith("matrix")]
        assert len(matrix) == bool(shown.states)
        if not matrix:
            continue
        columns = matrix[0].get("data-columns").split()
        side, at = int(matrix[0].get("data-side")), float(matrix[0].get("data-at"))
        plain = set()
        for index, row in enumerate(one for one in matrix[0] if one.get("data-row") is not None):
            bits = {columns[place] for place, bit in enumerate(row.get("data-bits")) if bit == "1"}
            plain.update((row.get("data-row"), one) for one in bits)
            assert cells(row, columns, side, at, index) == bits
        assert plain == {(state, to) for state, following in shown.rows.items() for to in following}
        assert columns == sorted(shown.called, key=columns.index)
        assert set(columns) == shown.called


def cells(row, columns, side, at, index):
    """The columns that a row's cells lie in, by where they are drawn."""
    found = set()
    for path in row.iter(f"{SVG}path"):
        kind = path.get("class").split()[1]
        for x, y, width in re.findall(r"M([\d.]+) ([\d.]+)h(\d+)", path.get("d")):
            assert abs(float(y) - (at + (index + 0.5) * side)) < 1
            first = round((float(x) - at) / side)
            names = columns[first : first + int(width) // side]
            assert {kind_of(name) for name in names} == {Kind(kind)}
            found.update(names)
    return found


@given(tables(words=CALLED[::11], most=15))
@settings(deadline=None, max_examples=60)
def test_nothing_overlaps_and_every_way_leads_from_a_state_to_a_state(table):
    found = layout(table)
    rows = {}
    for spot, box in found.boxes.items():
        rows.setdefault(box.row, []).append((box.x, spot))
        assert box.x - box.width / 2 + 1e-6 >= 0
        assert box.x + box.width / 2 <= found.width + 1e-6
    for row in rows.values():
        for (x, spot), (other, beside) in pairwise(sorted(row, key=lambda one: one[0])):
            assert other - x >= (width_of(spot) + width_of(beside)) / 2 + 8
    ways = {(line.start, line.end, source) for line in found.lines for source in line.sources}
    for before, to in table.edges:
        at = before
        while before != to and at != to:
            (at,) = {end for line in found.lines if line.to == to and line.start == at for end in [line.end]}
            assert any(end == at and source == before for _, end, source in ways)
    for line in found.lines:
        assert abs(found.boxes[line.start].row - found.boxes[line.end].row) <= 1
        assert all((source, line.to) in table.edges for source in line.sources)
    assert HEIGHT < ROW
    assert all(len(spot) * CHARACTER < width_of(spot) for spot in found.boxes if isinstance(spot, str))


def test_rows_are_by_the_distance_from_the_beginnings():
    chain = ["start:exec", "brk", "mmap:data", "read", "write"]
    table = Table(
        {
            **{one: frozenset({after}) for one, after in pairwise(chain)},
            "write": frozenset({"brk", "write"}),
            "signal": frozenset({"futex"}),
            "ptrace": frozenset({"ptrace"}),
            "listen": frozenset({"accept4"}),
            "accept4": frozenset({"accept4", "clone"}),
        }
    )
    boxes = layout(table).boxes
    assert [boxes[state].row for state in chain] == [0, 1, 2, 3, 4]
    assert (boxes["signal"].row, boxes["futex"].row) == (0, 1)
    # A way into a phase, though no thread begins there.
    assert [boxes[state].row for state in ("listen", "accept4", "clone")] == [0, 1, 2]
    # What neither leads on nor is led to stands below.
    assert boxes["ptrace"].row == 5


@given(tables())
@settings(deadline=None)
def test_classes_are_one_only_where_it_makes_no_difference(table):
    shown = joined(table)

    def taken_apart(word):
        return states.expand(word)

    assert table.rows == {
        state: frozenset(to for one in following for to in taken_apart(one))
        for whole, following in shown.rows.items()
        for state in taken_apart(whole)
    }
    assert table.deep == {
        (before, state): frozenset(to for one in following for to in taken_apart(one))
        for (first, second), following in shown.deep.items()
        for before in taken_apart(first)
        for state in taken_apart(second)
    }


def test_what_is_alike_is_joined_and_what_is_not_is_not():
    both = frozenset({"openat:read", "openat:write"})
    alike = Table({**dict.fromkeys(states.STARTS, both), **dict.fromkeys(both, both | {"read"})})
    assert joined(alike).states == {"start", "openat", "read"}
    assert "9 edges" not in of(alike).phases[0].size
    assert "6 states" in of(alike).phases[0].size
    assert "drawn as 3" in of(alike).phases[0].size
    other = Table({**alike.rows, "openat:read": frozenset({"read"}), "start:fork": frozenset({"read"})})
    assert joined(other).states == other.states
    by_history = Table(alike.rows, {("openat:read", "read"): frozenset()})
    assert joined(by_history).states == {"start", *both, "read"}


def test_kinds_of_states():
    assert kind_of("start:exec") is kind_of("start") is kind_of("foreign") is Kind.BEGINS
    assert kind_of("signal") is Kind.HANDLER
    assert kind_of("ptrace") is Kind.DANGEROUS
    assert kind_of("mprotect:exec") is kind_of("mprotect") is kind_of("socket:inet") is Kind.SENSITIVE
    assert kind_of("mprotect:data") is kind_of("openat:write") is kind_of("9999") is Kind.PLAIN


def test_phases_stand_side_by_side_with_what_leads_over():
    start, serving = Table({"start:exec": frozenset({"listen"})}), Table({"accept4": frozenset({"read"})})
    both = of(start, serving, action="freeze")
    text = svg(both)
    places = [float(x) for x in re.findall(r'<g transform="translate\(([\d.]+) [\d.]+\)"><text y="0"', text)]
    assert len(places) == 2
    assert places[0] + 100 < places[1]
    for words in ("start-up", "serving", "until one of: listen", "a watch does: freeze", "once one of these was made"):
        assert words in text
        assert words in page(both)
    assert [one.title for one in of(start, serving, part=Part.START_UP).phases] == ["start-up"]
    assert [one.title for one in of(start, serving, part=Part.SERVING).phases] == ["serving"]
    assert [one.title for one in of(start).phases] == [one.title for one in of(start, part=Part.START_UP).phases]
    free = of(None, serving)
    assert [one.title for one in free.phases] == ["serving"]
    assert "before serving, everything may follow everything" in svg(free)


def test_phases_that_are_not_there():
    table = Table({"start:exec": frozenset({"read"})})
    with pytest.raises(BadInput, match="--phase: the policy has no serving phase"):
        of(table, part=Part.SERVING)
    with pytest.raises(BadInput, match="--phase: start-up is not judged"):
        of(None, table, part=Part.START_UP)


def test_lists_by_what_was_before_are_listed():
    table = Table({"connect": frozenset({"sendto"})}, {("connect", "sendto"): frozenset({"recvfrom", "close"})})
    shown = of(table)
    assert "connect &gt; sendto: close recvfrom" in svg(shown)
    assert "<th>connect</th><th>sendto</th><td>close recvfrom</td>" in page(shown)
    assert 'class="deep"' in page(shown)
    assert "after connect, then sendto, only: close recvfrom" in svg(shown)
    assert "only" not in svg(of(Table(table.rows)))
    many = Table({}, {(one, "read"): frozenset({"write"}) for one in CALLED[:90]})
    assert "… and 30 more" in svg(of(many))
    assert page(of(many)).count("<td>write</td>") == 90


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "]]>&amp;\"'", "a\x00b\x1b[2J\u202e", "\udcff", "", "é" * 300]
)
def test_texts_of_policies_are_texts(name):
    shown = of(Table({"start:exec": frozenset({"read"})}), name=name)
    for text in (svg(shown), page(shown).partition("\n")[2]):
        text.encode("utf-8")
        root = ElementTree.fromstring(text)
        assert "<script>alert" not in text
        scripts = [one for one in root.iter() if one.tag.endswith("script")]
        assert len(scripts) == (root.tag == f"{HTML}html")
        assert not any(key.startswith("on") or key == "style" for one in root.iter() for key in one.attrib)
    readable = name.encode("unicode_escape").decode() if not name.isprintable() else name
    title = ElementTree.fromstring(svg(shown)).find(f"{SVG}text").text or ""
    assert title == readable


def test_a_page_needs_nothing_else():
    text = page(of(Table({"start:exec": frozenset({"read"}), "read": frozenset({"read"})})))
    rest = text.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xhtml", "")
    assert not re.search(r"https?:|src=|href|@import|fetch|XMLHttp|import\(|url\((?!#)", rest)
    for tag in ("style", "script"):
        content = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src &#x27;sha256-{digest}&#x27;" in text
    assert "default-src &#x27;none&#x27;" in text
    # Without its script it has tooltips and tables.
    bare = re.sub("<script>.*</script>", "", text, flags=re.DOTALL)
    assert "<th>start:exec</th><td>read</td>" in bare
    assert "before it: read start:exec" in bare


def test_large_machines_are_squares_in_bounded_time_and_size():
    for share in (1.0, 0.5):
        shown = of(dense(500, share))
        begun = time.monotonic()
        text, whole = svg(shown), page(shown)
        assert time.monotonic() - begun < 30
        assert not any(one.is_followed for one in shown.phases)
        assert len(text) + len(whole) < 8 << 20
        assert "too large for lines between states" in text
        assert "data-state" not in text
        assert "too large for lines between states" in whole
    small = of(dense(12))
    assert "too large" not in svg(small)


def test_more_states_than_any_abi_has_are_refused():
    with pytest.raises(BadInput, match=f"has {MOST_STATES + 1} states; {MOST_STATES} are the most that are drawn"):
        of(Table({str(index): frozenset({"0"}) for index in range(MOST_STATES + 1)}))


def test_long_lists_are_cut_and_counted():
    assert listed(["a", "b", "c"], 2) == "a b … and 1 more"
    assert listed([], 2) == "nothing"


PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_graph import dense, of
from scmm_oci.compiled.graph import page, svg
shown = of(dense(40, 0.12), dense(80, 0.3), name="\\u00e9")
print(hashlib.sha256((svg(shown) + page(shown)).encode()).hexdigest())
"""


def test_the_same_bytes_everywhere():
    found = set()
    for seed, locale in (("1", "C"), ("2", "C.UTF-8"), ("3", "C")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale}
        command = [sys.executable, "-c", PROGRAM, os.path.dirname(__file__)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        found.add(done.stdout)
    assert len(found) == 1
