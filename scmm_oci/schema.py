"""Check a plain document against one of our JSON Schemas and say all that is wrong in words, each with its place.

Used by the readers of captures, policies and OCI profiles. The schemas say what shape a document has; what a value
means (is this a system call?) is checked by those readers, on what is left of the document without its bad parts.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from scmm_oci.errors import BadInput, Problem, unknown_value

Steps = tuple[str | int, ...]


class Kind(Enum):
    """What a problem is about: a value, a key that may not stand there, or a mapping in which a key is missing."""

    VALUE = 1
    KEY = 2
    MISSING = 3


@dataclass(frozen=True)
class Found:
    """A problem and its path in the document, as steps of keys and indices."""

    path: Steps
    problem: Problem
    kind: Kind = Kind.VALUE


# A hostile file can hold millions of mistakes, each dear to put into words.
MOST = 1000

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def place(path: Steps) -> str:
    """A path in a document as people write it: ``.syscalls[2].name``; the document itself is ``.``."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(parts) or "."


def load_json(data: bytes, *, source: str) -> Any:
    """The value of a JSON text, strictly: UTF-8, no key twice, no NaN, no fractions (none of our formats has any).

    Raises:
        BadInput: it is not; ``source`` names the file in the message.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is not UTF-8")], source=source) from error
    try:
        return json.loads(text, object_pairs_hook=_object, parse_float=_no_fraction, parse_constant=_no_fraction)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        # A string that is cut off is reported at its beginning, everything else at the end.
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        hint = "is the file whole?" if cut else ""
        raise BadInput([Problem(where, f"is not JSON: {error.msg}", hint)], source=source) from error
    except RecursionError as error:
        raise BadInput([Problem("", "is nested too deeply")], source=source) from error
    except ValueError as error:
        raise BadInput([Problem("", str(error))], source=source) from error


def problems(document: object, schema: str) -> list[Found]:
    """Everything that the schema finds wrong (of more than MOST problems: MOST of them), sorted by path.

    Args:
        schema: "capture", "policy" or "oci-seccomp".
    """
    every = (one for error in _validator(schema).iter_errors(document) for one in _explain(error))
    found = list(islice(every, MOST))
    if next(every, None) is not None:
        found.append(Found((), Problem(".", f"has more than {MOST} problems; the others are not told")))
    # Steps of mixed type do not compare; indices must sort as numbers.
    return sorted(found, key=lambda one: [(isinstance(step, str), step) for step in one.path])


def prune(document: Any, found: Iterable[Found]) -> Any:
    """A copy of the document without its bad parts: bad keys are gone, bad items of lists are None.

    What is left can be checked further, so that one run tells all that is wrong. Keys may be missing in it.
    """
    rest = [one for one in found if one.kind is not Kind.MISSING]
    if any(not one.path for one in rest) or not isinstance(document, dict):
        return {}
    document = copy.deepcopy(document) if rest else document
    for one in rest:
        holder = document
        for step in one.path[:-1]:
            holder = holder.get(step) if isinstance(holder, dict) else holder[step] if holder else None
        last = one.path[-1]
        if isinstance(holder, dict):
            holder.pop(last, None)
        elif isinstance(holder, list):
            holder[int(last)] = None
    return document


@cache
def _validator(schema: str) -> Draft202012Validator:
    # In a wheel the schemas lie inside the package, in a source tree beside it.
    here = Path(__file__).resolve().parent
    folder = next(path for path in (here / "schemas", here.parent / "schemas") if path.is_dir())
    text = (folder / f"{schema}.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def _explain(error: ValidationError) -> Iterator[Found]:
    path: Steps = tuple(error.absolute_path)
    value: Any = error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema
    where = place(path)
    if error.validator == "additionalProperties":
        known = sorted(schema["properties"])
        for key in [key for key in value if key not in schema["properties"]]:
            inner = (*path, key)
            yield Found(inner, unknown_value(place(inner), "a key that may stand here", key, known), Kind.KEY)
    elif error.validator == "required":
        # jsonschema gives one error for each missing key, and names it in its message only.
        missing = re.match(r"'(.*)' is a required property", error.message)
        yield Found(path, Problem(where, f"the key {missing[1] if missing else '?'!r} is missing"), Kind.MISSING)
    elif error.validator == "enum" and isinstance(value, str):
        yield Found(path, unknown_value(where, "a known value", value, rule))
    else:
        yield Found(path, Problem(where, _sentence(str(error.validator), value, rule, schema) or error.message))


def _sentence(validator: str, value: Any, rule: Any, schema: Any) -> str:
    match validator:
        case "type":
            return f"{_short(value)} is not {_types([rule] if isinstance(rule, str) else rule)}"
        case "enum":
            return f"{_short(value)} is not one of {', '.join(_short(one) for one in rule)}"
        case "const":
            return f"is {_short(value)}, must be {_short(rule)}"
        case "pattern":
            return f"{_short(value)} is not {schema.get('description') or f'of the form {rule}'}"
        case "minimum":
            return f"{_short(value)} is less than {rule}"
        case "maximum":
            return f"{_short(value)} is more than {rule}"
        case "minItems" | "minLength":
            return "is empty" if rule == 1 else f"is shorter than {rule}"
        case "maxItems" | "maxLength":
            return f"is longer than {rule}"
        case "uniqueItems":
            return f"has a value twice: {_short(_first_double(value))}"
    return ""


def _types(types: Sequence[str]) -> str:
    return " or ".join(_TYPES[name] for name in types)


def _short(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _first_double(values: Sequence[object]) -> object:
    return next((value for index, value in enumerate(values) if value in values[:index]), None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"the key {_first_double([key for key, _ in pairs])!r} stands twice in one object")
    return result


def _no_fraction(text: str) -> object:
    raise ValueError(f"{text} is not a whole number")
