"""A policy's text that people have edited → the same text, changed so that it says something else.

What is unchanged stays to the byte: comments, order, quotes, blank lines, numbers as they were written. That is why
the text is changed in place, at positions that the parser gives, and not written anew from a tree that keeps comments:
such trees keep the comment above a rule with the rule before it. Called by the command line's verbs; pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.policy.yaml import layout
from scmm_oci.policy.yaml.layout import Entry, Node
from scmm_oci.policy.yaml.matching import Step, canonical, normal, plan
from scmm_oci.policy.yaml.source import load
from scmm_oci.policy.yaml.text import block, dump, inline, is_inline
from scmm_oci.schema import Steps


def update(text: bytes, document: Mapping[str, Any], *, source: str = "") -> bytes:
    """The text, changed so that it holds the document.

    Rules are known again by what they are about (the call and its constraints, the path, protocol with ports and
    addresses, the capability) and changed key by key; new ones go where they sort, or to where the document has them
    if the list is not sorted; those that are gone take the comments directly above them and behind them along.
    Comments that an empty line parts from a rule stay. Lists of rules keep the order that they have in the text.

    Args:
        document: plain values as policy.yaml.text.dump takes them; Flow and FlowList say how new ones look.
        source: the file's name, for the messages.

    Returns:
        YAML that is read as the document (lists of rules: in any order of names). The same bytes if nothing changed.

    Raises:
        BadInput: the text is not UTF-8 or not strictly YAML.
        Failure: the text is written in a way in which this cannot be done.
        TypeError: the document has a value that is not written to YAML.
    """
    try:
        content = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is not UTF-8")], source=source) from error
    loaded = load(content, source=source)
    if _same(loaded.value, document):
        return text
    root = layout.read(loaded)
    if root is None or not root.entries or not document:
        body = loaded.text[: root.start] if root else loaded.text
        end = loaded.text[root.end :] if root else ""
        gap = "\n" if body and not body.endswith("\n") else ""
        result = body + gap + dump(document).decode("utf-8").rstrip("\n") + (end or "\n")
    else:
        editor = _Editor(loaded.text)
        editor.collection(root, document, ())
        result = editor.result()
    bom = "\ufeff" if content.startswith("\ufeff") else ""
    try:
        held = load(result, source=source).value
    except BadInput as error:
        raise _failure(source) from error
    if not _same(held, document):
        raise _failure(source)
    return (bom + result).encode("utf-8")


def _failure(source: str) -> Failure:
    what = f"{source}: " if source else ""
    hint = "write what is to change in block style, each rule on its lines"
    return Failure(f"{what}cannot be changed in place", hint)


def _same(one: Any, other: Any) -> bool:
    return canonical(normal(one)) == canonical(normal(other))


class _Editor:
    """Collects changes of a text: pieces of it, and what to put there instead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        return self._applied(0, len(self._text), self._edits)

    def _applied(self, start: int, end: int, edits: Sequence[tuple[int, int, str]]) -> str:
        """A piece of the text with changes made; where one takes away what another does, that is gone once."""
        pieces: list[str] = []
        at = start
        for begin, stop, new in sorted(edits, key=lambda edit: edit[:2]):
            pieces += [self._text[at:begin], new]
            at = max(at, stop)
        return "".join([*pieces, self._text[at:end]])

    def _edit(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new.replace("\n", self._newline)))

    def collection(self, node: Node, wanted: Any, path: Steps) -> None:
        """Change a mapping or list that is not empty to one of the same kind that is not."""
        is_mapping = isinstance(wanted, Mapping)
        steps = self._pairs(node, wanted) if is_mapping else plan(node.value, wanted, path)
        first = len(self._edits)
        for step in steps:
            if step.before is not None:
                entry = node.entries[step.before]
                key, value = step.value if is_mapping else (step.before, step.value)
                self._entry(entry, value, (*path, key), node.flow)
        if len(steps) == len(node.entries) and all(step.before is not None for step in steps):
            return
        if not node.flow:
            self._block(node, steps)
        elif "\n" in self._text[node.start : node.end]:
            self._lines(node, steps)
        else:
            inner = self._edits[first:]
            del self._edits[first:]
            self._line(node, steps, inner)

    def _pairs(self, node: Node, wanted: Mapping[str, Any]) -> list[Step]:
        """A mapping's steps, with pairs as values: what is there in its order, what is new behind what it follows."""
        before = {entry.key: index for index, entry in enumerate(node.entries)}
        follows: dict[int | None, list[Step]] = {}
        last = None
        for key, value in wanted.items():
            if key in before:
                last = before[key]
            else:
                follows.setdefault(last, []).append(Step((key, value), None))
        steps = follows.get(None, [])
        for index, entry in enumerate(node.entries):
            if entry.key is not None and entry.key in wanted:
                steps += [Step((entry.key, wanted[entry.key]), index), *follows.get(index, [])]
        return steps

    def _entry(self, entry: Entry, wanted: Any, path: Steps, in_flow: bool) -> None:
        node = entry.node
        if type(wanted) is str and node.value == wanted:
            return
        is_mapping, is_list = isinstance(node.value, dict), isinstance(node.value, list)
        alike = (is_mapping and isinstance(wanted, Mapping)) or (is_list and isinstance(wanted, list | tuple))
        # In a flow list, a mapping of one pair can stand without its braces.
        if alike and node.entries and wanted and (node.flow or not in_flow):
            self.collection(node, wanted, path)
            return
        if canonical(node.value) != canonical(wanted):
            self._replace(entry, wanted, in_flow)

    def _replace(self, entry: Entry, wanted: Any, in_flow: bool) -> None:
        text, node = self._text, entry.node
        after = node.end if entry.after is None else entry.after
        below = "\n" in text[after : node.start]
        is_block = not in_flow and entry.key is not None and entry.after is not None and not is_inline(wanted)
        if not is_block:
            if node.start == node.end:
                # Nothing was written for null.
                self._edit(after, after, f"{'' if entry.after or entry.key is None else ':'} {inline(wanted)}")
            elif below and not in_flow:
                self._edit(after, after, f" {inline(wanted)}")
                self._edit(layout.line_end(text, after), layout.line_end(text, node.end), "")
            else:
                self._edit(node.start, node.end, inline(wanted))
            return
        lines = block(wanted, entry.start - layout.line_start(text, entry.start) + 2)
        if below:
            end = layout.line_end(text, node.end)
            self._edit(layout.line_end(text, after), end, "".join(f"\n{line}" for line in lines))
        else:
            self._edit(after, node.end, "")
            end = layout.line_end(text, node.end)
            self._edit(end, end, "".join(f"\n{line}" for line in lines))

    def _line(self, node: Node, steps: Sequence[Step], inner: Sequence[tuple[int, int, str]]) -> None:
        """Write a flow collection on one line anew, of the pieces that it had."""
        pieces = []
        for step in steps:
            if step.before is None:
                pieces.append(_flow(node, step.value))
            else:
                entry = node.entries[step.before]
                end = max(entry.node.end, entry.after or 0)
                pieces.append(
                    self._applied(entry.start, end, [one for one in inner if entry.start <= one[0] <= one[1] <= end])
                )
        text = self._text
        opening, closing = text[node.start : node.entries[0].start], text[node.end - 1]
        blank = " " if opening.endswith(" ") else ""
        self._edits.append((node.start, node.end, opening + ", ".join(pieces) + blank + closing))

    def _lines(self, node: Node, steps: Sequence[Step]) -> None:
        """Change a flow collection that is on several lines, so that comments in it stay."""
        text, entries = self._text, node.entries
        kept = {step.before for step in steps}
        for index, entry in enumerate(entries):
            if index in kept:
                continue
            end, comma = self._comma(entry)
            if layout.is_first(text, entry.start) and self._is_last(end):
                self._edit(self._above(entries, index), layout.next_line(text, end), "")
            else:
                rest = text[end : layout.line_end(text, end)]
                blanks = len(rest) - len(rest.lstrip(" ")) if comma else 0
                self._edit(entry.start, end + blanks, "")
        last: Entry | None = None
        with_comma: set[int] = set()
        for step in steps:
            if step.before is not None:
                last = entries[step.before]
                continue
            new = _flow(node, step.value)
            if last is None:
                at = entries[0].start
                if layout.is_first(text, at):
                    pad = text[layout.line_start(text, at) : at]
                    self._edit(self._above(entries, 0), self._above(entries, 0), f"{pad}{new},\n")
                else:
                    self._edit(at, at, f"{new}, ")
                continue
            end, comma = self._comma(last)
            if not self._is_last(end):
                self._edit(end, end, f" {new}," if comma else f", {new}")
                continue
            if not comma and end not in with_comma:
                with_comma.add(end)
                self._edit(end, end, ",")
            pad = " " * (last.start - layout.line_start(text, last.start))
            at = layout.next_line(text, end)
            self._edit(at, at, f"{pad}{new},\n")

    def _comma(self, entry: Entry) -> tuple[int, bool]:
        """Where an entry of a flow collection ends with its comma, and whether it has one on its line."""
        end = max(entry.node.end, entry.after or 0)
        rest = self._text[end : layout.line_end(self._text, end)]
        stripped = rest.lstrip(" \t")
        return (end + len(rest) - len(stripped) + 1, True) if stripped.startswith(",") else (end, False)

    def _is_last(self, index: int) -> bool:
        """Whether only a comment follows on the line."""
        rest = self._text[index : layout.line_end(self._text, index)].strip()
        return not rest or rest.startswith("#")

    def _block(self, node: Node, steps: Sequence[Step]) -> None:
        text, entries = self._text, node.entries
        kept = {step.before for step in steps if step.before is not None}
        column = entries[0].start - layout.line_start(text, entries[0].start)
        pad = " " * column
        runs: dict[int | None, list[str]] = {}
        last = None
        for step in steps:
            if step.before is not None:
                last = step.before
            else:
                pair = isinstance(node.value, dict)
                value = dict([step.value]) if pair else [step.value]
                runs.setdefault(last, []).extend(block(value, column))
        for index, lines in runs.items():
            if index is not None:
                self._insert(layout.comments_after(text, entries[index].start, entries[index].node.end), lines)
        lines = runs.get(None, [])
        gone = [index for index in range(len(entries)) if index not in kept]
        first = min(kept, default=None)
        if layout.is_first(text, entries[0].start):
            if lines:
                self._insert(self._above(entries, first or 0), lines)
        elif first == 0:
            if lines:
                self._edit(entries[0].start, entries[0].start, "\n".join([*lines, pad]).removeprefix(pad))
        else:
            gone = [index for index in gone if first is not None and index > first]
            self._begin(entries, first, lines, pad)
        for index in gone:
            entry = entries[index]
            self._edit(self._above(entries, index), layout.comments_after(text, entry.start, entry.node.end), "")

    def _begin(self, entries: Sequence[Entry], first: int | None, lines: Sequence[str], pad: str) -> None:
        """Take away what stands before an entry (None: all entries), up to the dash that it begins behind."""
        text, begin = self._text, entries[0].start
        new = "\n".join(lines).removeprefix(pad)
        if first is None:
            self._edit(begin, layout.line_end(text, entries[-1].node.end), new)
            return
        start = entries[first].start
        above = self._above(entries, first)
        if above == layout.line_start(text, start):
            self._edit(begin, start, f"{new}\n{pad}" if lines else "")
        else:
            # The comment stays above its key, and the dash on a line alone.
            dash = begin if lines else len(text[:begin].rstrip(" "))
            self._edit(dash, layout.line_end(text, layout.line_start(text, above - 1)), new)

    def _above(self, entries: Sequence[Entry], index: int) -> int:
        """Where an entry begins with the comment above it."""
        return layout.comments_before(self._text, entries[index].start, entries[index - 1].node.end if index else 0)

    def _insert(self, at: int, lines: Sequence[str]) -> None:
        """Put lines in front of a line, or at the text's end."""
        new = "".join(f"{line}\n" for line in lines)
        if at == len(self._text) and not self._text.endswith("\n"):
            new = "\n" + new.removesuffix("\n")
        self._edit(at, at, new)


def _flow(node: Node, value: Any) -> str:
    """A new entry of a flow collection; one of a mapping is a pair."""
    return inline(dict([value]))[1:-1] if isinstance(node.value, dict) else inline(value)
