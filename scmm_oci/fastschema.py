"""Our JSON Schemas, and code made of them that says quickly whether a document is right, but not why it is not.

jsonschema takes minutes for a capture of a hundred thousand files; code that fastjsonschema makes of the same schema
takes a second. scmm_oci.schema explains what is refused here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema

# The schemas that can be compiled: they keep to keywords that mean the same in draft 7, which is what that knows.
NAMES = ("capture", "capture-set", "policy")

# Parts of a schema that say nothing about a document.
_SILENT = ("$schema", "$id", "$defs", "title", "description")


@cache
def load(schema: str) -> dict[str, Any]:
    """A schema by its name: "capture", "capture-set", "policy" or "oci-seccomp". Not to be changed."""
    # In a wheel the schemas lie inside the package, in a source tree beside it.
    here = Path(__file__).resolve().parent
    folder = next(path for path in (here / "schemas", here.parent / "schemas") if path.is_dir())
    loaded: dict[str, Any] = json.loads((folder / f"{schema}.schema.json").read_text(encoding="utf-8"))
    return loaded


def accepts(document: object, schema: str) -> bool:
    """Whether the schema finds nothing wrong.

    Args:
        schema: of ``NAMES``.
    """
    return compiled(schema)(document)


@cache
def compiled(schema: str, part: str = "") -> Callable[[object], bool]:
    """Whether a value is as a schema (or the part of it named in $defs) has it, without a reason."""
    whole = load(schema)
    definition = _inlined(whole["$defs"][part] if part else whole, whole["$defs"])
    # Never use_default: it would put values into the document.
    validate = fastjsonschema.compile(definition, use_default=False)

    def good(value: object) -> bool:
        try:
            validate(value)
        except (fastjsonschema.JsonSchemaException, RecursionError):
            return False
        return True

    return good


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with every reference replaced by what it refers to: each would be a function call for each value."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {
        key: {name: _inlined(inner, definitions) for name, inner in value.items()}
        if key == "properties"
        else _inlined(value, definitions)
        for key, value in schema.items()
        if key not in _SILENT
    }
