"""The README's table of commands has every verb, and its links lead to headings that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scmm_oci.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def without_code(text: str) -> str:
    """The text without its code blocks, in which `#` is no heading and `](` no link."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: small letters, digits, `-` and `_`, a `-` for each space."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: str, text: str) -> list[str]:
    """The links of a page to files of the project, or headings in them, that are not there."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        to = (ROOT / page).parent / path if path else ROOT / page
        if not to.exists() or (anchor and anchor not in anchors(to.read_text())):
            found.append(target)
    return found


def test_every_verb_is_in_the_table() -> None:
    section = (ROOT / "README.md").read_text().partition("## The commands\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == sorted(VERBS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert dead(page, (ROOT / page).read_text()) == []


def test_links_that_lead_nowhere_are_found() -> None:
    text = "[a](docs/policy.md#groups) [b](docs/policy.md#no-such) [c](docs/no-such.md) [d](https://example.org/x)"
    assert dead("README.md", text) == ["docs/policy.md#no-such", "docs/no-such.md"]
