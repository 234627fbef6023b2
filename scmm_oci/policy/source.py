"""YAML text → plain values, and for each of them its line and column.

Strict: one document, no key twice, no aliases (a few lines of them can stand for billions of values), no tags and no
directives (with either, ``yes`` can become true), nothing that is not Unicode, nothing nested without an end.
Called by policy.document only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from scmm_oci.errors import BadInput, Problem, short
from scmm_oci.schema import DEEPEST, DIGITS, Found, Kind, Steps, long_number, place

_TAG = "tag:yaml.org,2002:"
_TAGGED = ("has a tag, and tags are not read", "leave it out, and write text in quotes")
_NOT_UNICODE = "has half of a surrogate pair in it, which is no character"


@dataclass
class Source:
    """A document's values, and where values and keys stand: path → line and column, counted from 1."""

    value: Any = None
    marks: dict[Steps, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Steps, tuple[int, int]] = field(default_factory=dict)
    tagged: set[int] = field(default_factory=set)
    """The ids of the nodes that have tags; a node itself does not tell whether its tag was written or found."""

    def problems(self, found: Iterable[Found]) -> list[Problem]:
        """The problems in the order of the text, with line and column in front of their paths."""
        placed = [(self._mark(one), place(one.path), one.problem) for one in found]
        return [
            Problem(f"line {line}, column {column}, {where}", problem.message, problem.hint)
            for (line, column), where, problem in sorted(placed)
        ]

    def _mark(self, one: Found) -> tuple[int, int]:
        marks = self.keys if one.kind is Kind.KEY and one.path in self.keys else self.marks
        return marks[one.path]


def load(text: str, *, source: str) -> Source:
    """The values of a YAML 1.2 text.

    Raises:
        BadInput: it is no YAML, or not strictly so; ``source`` names the file.
    """
    loaded = Source()
    found: list[Found] = []

    class _Composer(Composer):
        def compose_node(self, parent: Any, index: Any) -> Any:
            tag = getattr(self.parser.peek_event(), "ctag", None)
            node = super().compose_node(parent, index)
            if tag is not None:
                loaded.tagged.add(id(node))
            return node

    directive = _directive(text)
    if directive is not None:
        problem = Problem(f"line {directive}, column 1", "is a YAML directive, and those are not read", "leave it out")
        raise BadInput([problem], source=source)
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    try:
        root = yaml.compose(text)
        loaded.marks[()] = (1, 1)
        if root is not None:
            loaded.value = _value(root, (), loaded, found, set())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = Problem(where, f"is not YAML: {str(error.problem or error.context)[:200]}")
        raise BadInput([problem], source=source) from error
    except YAMLError as error:
        raise BadInput([Problem("", f"is not YAML: {str(error)[:200]}")], source=source) from error
    except RecursionError as error:
        raise BadInput([Problem("", "is nested too deeply")], source=source) from error
    if found:
        raise BadInput(loaded.problems(found), source=source)
    return loaded


def _directive(text: str) -> int | None:
    """The line of the first directive. Only empty lines and comments can stand before one."""
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.startswith("%"):
            return number
        if line.strip() and not line.lstrip().startswith("#"):
            return None
    return None


def _value(node: Node, path: Steps, loaded: Source, found: list[Found], seen: set[int]) -> Any:
    loaded.marks[path] = _mark(node)
    if id(node) in seen:
        found.append(Found(path, Problem("", "is an alias, and aliases are not read", "write it out")))
        return None
    seen.add(id(node))
    if id(node) in loaded.tagged:
        found.append(Found(path, Problem("", *_TAGGED)))
        return None
    if not isinstance(node, ScalarNode) and len(path) == DEEPEST:
        found.append(Found(path, Problem("", "is nested too deeply", f"{DEEPEST} levels are the most that is read")))
        return None
    if isinstance(node, SequenceNode):
        return [_value(item, (*path, index), loaded, found, seen) for index, item in enumerate(node.value)]
    if not isinstance(node, MappingNode):
        return _scalar(node, path, found)
    result: dict[str, Any] = {}
    for key, item in node.value:
        name = key.value if isinstance(key, ScalarNode) else "?"
        inner = (*path, name)
        problem = _bad_key(key, name, result, loaded)
        if problem is not None:
            found.append(Found(inner, problem, Kind.KEY))
            loaded.keys[inner] = _mark(key)
        else:
            loaded.keys[inner] = _mark(key)
            result[name] = _value(item, inner, loaded, found, seen)
    return result


def _bad_key(key: Node, name: str, before: dict[str, Any], loaded: Source) -> Problem | None:
    if id(key) in loaded.tagged:
        return Problem("", *_TAGGED)
    if key.tag != f"{_TAG}str":
        return Problem("", "is a key that is not text")
    if name in before:
        return Problem("", "stands twice in one mapping")
    return None if _is_unicode(name) else Problem("", _NOT_UNICODE)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: Node, path: Steps, found: list[Found]) -> Any:
    text: str = node.value
    try:
        match str(node.tag).removeprefix(_TAG):
            case "str" | "timestamp":
                if not _is_unicode(text):
                    found.append(Found(path, Problem("", _NOT_UNICODE)))
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                plain = text.replace("_", "")
                if len(plain) > DIGITS:
                    found.append(Found(path, Problem("", long_number(len(plain.lstrip("+-"))))))
                    return None
                return int(plain, 0) if plain.lstrip("+-")[:2] in ("0x", "0o") else int(plain)
            case "float":
                return float(text.replace("_", ""))
    except ValueError:
        pass
    found.append(Found(path, Problem("", f"{short(text)} cannot be read as {node.tag}")))
    return None
