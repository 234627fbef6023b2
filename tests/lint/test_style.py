"""ruff, mypy and shellcheck are tests, and so is the form of every JSON file and schema.

Beside each check stands one that it must fail: a linter that was switched off looks like a clean project.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from project_files import ROOT, linter, project_files

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS = sorted((ROOT / "schemas").glob("*.schema.json"))


def run(*command: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=300, check=False)


def tool(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A linter that pip installed beside this Python."""
    return run(sys.executable, "-m", name, *words)


def assert_clean(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        pytest.fail(f"\n{done.stdout}{done.stderr}", pytrace=False)


# Python


def test_ruff_finds_nothing() -> None:
    assert_clean(tool("ruff", "check", "--no-cache", "."))


def test_python_is_formatted() -> None:
    assert_clean(tool("ruff", "format", "--no-cache", "--check", "."))


def test_types_hold() -> None:
    assert_clean(tool("mypy"))


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        (("ruff", "check", "--no-cache"), "import os\n", "F401"),
        (("ruff", "check", "--no-cache"), "def f(x=[]):\n    return x\n", "B006"),
        (("ruff", "format", "--no-cache", "--check"), "x = {'a':1}\n", "would be reformatted"),
        (("mypy", "--cache-dir=/dev/null"), "def f(x):\n    return x\n", "no-untyped-def"),
    ],
    ids=["unused import", "shared default", "unformatted", "untyped"],
)
def test_python_linters_can_fail(words: tuple[str, ...], text: str, message: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(text)
    config = ("--config-file" if words[0] == "mypy" else "--config", ROOT / "pyproject.toml")
    done = tool(*words, *config, bad)
    assert done.returncode == 1, done.stderr
    assert message in done.stdout + done.stderr


def repeated(paths: Iterable[Path]) -> list[str]:
    """Names of modules that stand in several directories: all of tests/ is in one run, and the second is not found."""
    counted = Counter(path.name for path in paths)
    return sorted(name for name, count in counted.items() if count > 1 and name not in ("conftest.py", "__init__.py"))


def test_modules_of_tests_have_a_name_each() -> None:
    assert repeated(path for path in project_files(".py") if path.is_relative_to(ROOT / "tests")) == []


def test_modules_with_one_name_are_found() -> None:
    paths = [Path("unit/test_a.py"), Path("kernel/test_a.py"), Path("kernel/test_b.py"), Path("kernel/conftest.py")]
    assert repeated([*paths, Path("unit/conftest.py")]) == ["test_a.py"]


# Shell


def shell_text(path: Path) -> str | None:
    """The text of a shell script, or None for another file. Placeholders of a template stand for quoted words."""
    with path.open("rb") as file:
        if not re.match(rb"#! ?/(usr/)?bin/(env )?(ba|da)?sh\b", file.readline(80)):
            return None
    return re.sub(r"@[A-Z]+@", "'/placeholder'", path.read_text())


SCRIPTS = [path for path in project_files() if shell_text(path) is not None]


def test_scripts_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in SCRIPTS}
    assert names >= {"tools/setup-debian", ".ci/run", "hooks/scmm-hook.in"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_finds_nothing(path: Path) -> None:
    assert_clean(run(linter("shellcheck"), "-", text=shell_text(path)))


def test_shellcheck_can_fail() -> None:
    done = run(linter("shellcheck"), "-", text="#!/bin/sh\nrm $1\n")
    assert done.returncode == 1
    assert "SC2086" in done.stdout


# JSON


def load(text: str) -> Any:
    """A JSON value. Raises ValueError, also for a key that stands twice in an object, which parsers let pass."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"a key stands twice in {[key for key, _ in pairs]}")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


@pytest.mark.parametrize("path", project_files(".json"), ids=lambda path: str(path.relative_to(ROOT)))
def test_json_parses(path: Path) -> None:
    load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": 1,}', ""])
def test_bad_json_is_found(text: str) -> None:
    with pytest.raises(ValueError, match=r"stands twice|Expecting|Illegal trailing comma"):
        load(text)


# Schemas


def dangling(schema: dict[str, Any]) -> list[str]:
    """References that lead nowhere: Draft202012Validator.check_schema does not follow them."""

    def references(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "$ref" and isinstance(inner, str):
                    yield inner
                else:
                    yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    known = {f"#/$defs/{name}" for name in schema.get("$defs", {})}
    return sorted(set(references(schema)) - known)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_is_valid(path: Path) -> None:
    schema = load(path.read_text())
    assert schema["$schema"] == DRAFT
    assert schema["additionalProperties"] is False, "unknown keys must be errors"
    Draft202012Validator.check_schema(schema)
    assert dangling(schema) == []


def test_schemas_are_found() -> None:
    assert {path.name for path in SCHEMAS} >= {"capture.schema.json", "policy.schema.json"}


def test_bad_schemas_are_found() -> None:
    with pytest.raises(SchemaError, match="'strnig'"):
        Draft202012Validator.check_schema({"$schema": DRAFT, "type": "strnig"})
    assert dangling({"properties": {"a": {"items": [{"$ref": "#/$defs/gone"}]}}, "$defs": {"there": {}}}) == [
        "#/$defs/gone"
    ]
