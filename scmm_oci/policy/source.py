"""YAML text → plain values, and for each of them its line and column.

Strict: one document, no key twice, no aliases (a few lines of them can stand for billions of values), no tags.
Called by policy.document only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from scmm_oci.errors import BadInput, Problem
from scmm_oci.schema import Found, Kind, Steps, place

_TAG = "tag:yaml.org,2002:"


@dataclass
class Source:
    """A document's values, and where values and keys stand: path → line and column, counted from 1."""

    value: Any = None
    marks: dict[Steps, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Steps, tuple[int, int]] = field(default_factory=dict)

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
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        loaded.marks[()] = (1, 1)
        if root is not None:
            loaded.value = _value(root, (), loaded, found, set())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = Problem(where, f"is not YAML: {error.problem or error.context}")
        raise BadInput([problem], source=source) from error
    except YAMLError as error:
        raise BadInput([Problem("", f"is not YAML: {error}")], source=source) from error
    except RecursionError as error:
        raise BadInput([Problem("", "is nested too deeply")], source=source) from error
    if found:
        raise BadInput(loaded.problems(found), source=source)
    return loaded


def _value(node: Node, path: Steps, loaded: Source, found: list[Found], seen: set[int]) -> Any:
    loaded.marks[path] = _mark(node)
    if id(node) in seen:
        found.append(Found(path, Problem("", "is an alias, and aliases are not read", "write it out")))
        return None
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        return [_value(item, (*path, index), loaded, found, seen) for index, item in enumerate(node.value)]
    if not isinstance(node, MappingNode):
        return _scalar(node, path, found)
    result: dict[str, Any] = {}
    for key, item in node.value:
        name = key.value if isinstance(key, ScalarNode) else "?"
        inner = (*path, name)
        if key.tag != f"{_TAG}str" or name in result:
            message = "stands twice in one mapping" if name in result else "is a key that is not text"
            found.append(Found(inner, Problem("", message), Kind.KEY))
            loaded.keys[inner] = _mark(key)
        else:
            loaded.keys[inner] = _mark(key)
            result[name] = _value(item, inner, loaded, found, seen)
    return result


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: Node, path: Steps, found: list[Found]) -> Any:
    text: str = node.value
    try:
        match str(node.tag).removeprefix(_TAG):
            case "str" | "timestamp":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                plain = text.replace("_", "")
                return int(plain, 0) if plain.lstrip("+-")[:2] in ("0x", "0o") else int(plain)
            case "float":
                return float(text.replace("_", ""))
    except ValueError:
        pass
    found.append(Found(path, Problem("", f"{text[:40]!r} cannot be read as {node.tag}")))
    return None
