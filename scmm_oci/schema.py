"""Check a plain document against one of our JSON Schemas and say all that is wrong in words, each with its place.

Used by the readers of captures, policies and OCI profiles. The schemas say what shape a document has; what a value
means (is this a system call?) is checked by those readers, on what is left of the document without its bad parts.

jsonschema explains, but is slow: only what scmm_oci.fastschema refuses of a large document comes to it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, partial
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from scmm_oci import fastschema
from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.fastschema import load

Steps = tuple[str | int, ...]


class Kind(Enum):
    """What a problem is about: a value, a key that may not stand there, or a mapping in which a key is missing."""

    VALUE = 1
    KEY = 2
    MISSING = 3


@dataclass(frozen=True)
class _NoNumber:
    """Stands in a JSON document, until its place is known, for a number that we do not take."""

    message: str


@dataclass(frozen=True)
class Found:
    """A problem and its path in the document, as steps of keys and indices."""

    path: Steps
    problem: Problem
    kind: Kind = Kind.VALUE


@dataclass(frozen=True)
class Advice:
    """What the keys of one kind of document are about, for hints that a schema alone cannot give.

    Attributes:
        words: for a key, the words that others have for its values (or those in its list), in small letters.
        hint: for a path and the value that cannot stand there, what to write instead; or empty.
    """

    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hint: Callable[[Steps, object], str] = lambda _path, _value: ""


_NO_ADVICE = Advice()

# A hostile file can hold millions of mistakes, each dear to put into words.
MOST = 1000

# Lists and mappings inside one another; our formats need 10. Python's own stack ends at a few hundred.
DEEPEST = 64

# Digits of a number; the largest that any format of ours has is 2**64 - 1, with 20.
DIGITS = 100

# Lists shorter than this are not worth compiling the schema of their items for.
_FEW = 100

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
    parts = (f"[{step}]" if isinstance(step, int) else f".{_cut(step)}" for step in path)
    return "".join(parts) or "."


def load_json(data: bytes, *, source: str) -> Any:
    """The value of a JSON text, strictly: UTF-8, no key twice, no NaN, no fractions (none of our formats has any).

    What is nested more than DEEPEST deep, and a number of more than DIGITS digits, is refused too.

    Raises:
        BadInput: it is not; ``source`` names the file in the message.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is not UTF-8")], source=source) from error
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_fraction
        )
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
    every = _refused(value, [])
    found = list(islice(every, MOST))
    if next(every, None) is not None:
        found.append(Problem(".", f"has more than {MOST} problems; the others are not told"))
    if found:
        raise BadInput(found, source=source)
    return value


def load_fitting(data: bytes, fits: Callable[[Any], bool], *, source: str) -> tuple[Any, bool]:
    """The value of a JSON text as :func:`load_json` reads it, quickly if it is good, and whether it is.

    Args:
        fits: says whether a value is good. It must refuse numbers without bounds and nesting without end, as
            :func:`scmm_oci.fastschema.accepts` does.

    Raises:
        BadInput: as load_json.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_float=_fraction, parse_constant=_fraction
        )
        if fits(value):
            return value, True
        del value  # a hostile one has gigabytes
    except (ValueError, RecursionError):
        pass  # load_json says what is wrong
    return load_json(data, source=source), False


def problems(document: object, schema: str, *, advice: Advice = _NO_ADVICE) -> list[Found]:
    """Everything that the schema finds wrong (of more than MOST problems: MOST of them), sorted by path.

    Args:
        schema: "capture", "capture-set", "policy" or "oci-seccomp".
    """
    every = (one for error in _validator(schema).iter_errors(document) for one in _explain(error, advice))
    found = list(islice(every, MOST))
    if next(every, None) is not None:
        found.append(Found((), Problem(".", f"has more than {MOST} problems; the others are not told")))
    # Steps of mixed type do not compare; indices must sort as numbers.
    return sorted(found, key=lambda one: [(isinstance(step, str), step) for step in one.path])


def prune(document: Any, found: Iterable[Found]) -> Any:
    """The document without its bad parts: bad keys are gone, bad items of lists are None.

    What is left can be checked further, so that one run tells all that is wrong. Keys may be missing in it. The
    document stays as it is; the result shares with it what has no bad parts.
    """
    rest = [one for one in found if one.kind is not Kind.MISSING]
    if any(not one.path for one in rest) or not isinstance(document, dict):
        return {}
    document = dict(document)
    copied: set[Steps] = set()
    for one in rest:
        holder = document
        for depth, step in enumerate(one.path[:-1], 1):
            inner = holder.get(step) if isinstance(holder, dict) else holder[step] if holder else None
            if inner is not None and one.path[:depth] not in copied:
                copied.add(one.path[:depth])
                inner = holder[step] = copy.copy(inner)
            holder = inner
        last = one.path[-1]
        if isinstance(holder, dict):
            holder.pop(last, None)
        elif isinstance(holder, list):
            holder[int(last)] = None
    return document


@cache
def _validator(schema: str) -> Draft202012Validator:
    strict: type[Draft202012Validator] = _STRICT
    if schema in fastschema.NAMES:
        strict = validators.extend(_STRICT, {"items": partial(_items, schema)})  # type: ignore[no-untyped-call]
    return strict(load(schema))


def _items(name: str, validator: Any, schema: Any, value: object, _whole: object) -> Iterator[ValidationError]:
    # One bad item among a hundred thousand must not cost minutes: those that compiled code takes need no explaining.
    if not isinstance(value, list):
        return
    part = schema.get("$ref", "").removeprefix("#/$defs/")
    good = fastschema.compiled(name, part) if part and len(value) > _FEW else None
    for index, item in enumerate(value):
        if good is None or not good(item):
            yield from validator.descend(item, schema, path=index)


def _is_integer(_: object, value: object) -> bool:
    # JSON Schema takes 5.0 for a whole number; nothing that reads our documents does.
    return isinstance(value, int) and not isinstance(value, bool)


def _unique_items(_validator: object, unique: bool, value: object, _schema: object) -> Iterator[ValidationError]:
    # The one of jsonschema compares every item with every other where they are of mixed types.
    if unique and isinstance(value, list) and _first_double(value) is not None:
        yield ValidationError("has a value twice")


_STRICT: type[Draft202012Validator] = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"uniqueItems": _unique_items},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def _explain(error: ValidationError, advice: Advice) -> Iterator[Found]:
    path: Steps = tuple(error.absolute_path)
    key = next((step for step in reversed(path) if isinstance(step, str)), "")
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
        yield Found(path, unknown_value(where, "a known value", value, rule, meant=advice.words.get(key)))
    else:
        sentence = _sentence(str(error.validator), value, rule, schema) or error.message
        # YAML takes 1 for a number and yes for true; whoever wrote it meant what stands there.
        unquoted = error.validator == "type" and rule == "string" and isinstance(value, bool | int | float)
        hint = "put it in quotes" if unquoted else advice.hint(path, value)
        yield Found(path, Problem(where, sentence, hint))


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
            return f"has a value twice: {_short(value[_first_double(value)])}"
    return ""


def _types(types: Sequence[str]) -> str:
    return " or ".join(_TYPES[name] for name in types)


def _short(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else short(value)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _first_double(values: Sequence[object]) -> int | None:
    """The index of the first value that stands before already, as JSON compares them (true is not 1); None if none."""
    seen = set()
    for index, value in enumerate(values):
        # No list of ours that must not repeat a value has lists or mappings in it, but a bad one can.
        key = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        typed = (type(value), key)
        if typed in seen:
            return index
        seen.add(typed)
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {short(keys[_first_double(keys) or 0])} stands twice in one object")
    return result


def _integer(text: str) -> int | _NoNumber:
    digits = len(text.removeprefix("-"))
    return int(text) if digits <= DIGITS else _NoNumber(long_number(digits))


def long_number(digits: int) -> str:
    """What is wrong with a number of so many digits."""
    return f"is a number of {digits} digits, and {DIGITS} are the most that is read"


def _fraction(text: str) -> _NoNumber:
    return _NoNumber(f"{_cut(text)} is not a whole number")


def _refused(value: object, path: list[str | int]) -> Iterator[Problem]:
    """What a JSON document must not have anywhere. One path for all: a tuple for each value would fill the memory."""
    if isinstance(value, _NoNumber):
        yield Problem(place(tuple(path)), value.message)
    elif isinstance(value, dict | list):
        if len(path) == DEEPEST:
            yield Problem(place(tuple(path)), "is nested too deeply", f"{DEEPEST} levels are the most that is read")
            return
        steps: Iterable[tuple[str | int, object]] = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in steps:
            if isinstance(item, dict | list | _NoNumber):
                path.append(step)
                yield from _refused(item, path)
                path.pop()
