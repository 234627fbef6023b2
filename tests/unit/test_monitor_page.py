"""What docs/monitor.md shows of rules and policies is what they are read as."""

from __future__ import annotations

import pytest
from support import ROOT

from scmm_oci.enforcer.monitor.rules.load import parse
from scmm_oci.policy import document
from scmm_oci.policy.model import Action

PARTS = (ROOT / "docs/monitor.md").read_text().split("```yaml\n")[1:]
BLOCKS = [part.split("```")[0] for part in PARTS]
RULES = [text for text in BLOCKS if "rules:" in text]


def test_there_are_some() -> None:
    assert RULES and len(BLOCKS) > len(RULES)


@pytest.mark.parametrize("text", [text for text in BLOCKS if text not in RULES])
def test_policies_that_are_shown_ask(text: str) -> None:
    """Parts of policies: with a version, they are some."""
    policy = document.parse(f'version: "1.0"\n{text}'.encode())
    assert Action.NOTIFY in [rule.action for rule in policy.syscalls]


@pytest.mark.parametrize("text", RULES)
def test_rules_that_are_shown_can_be_read(text: str) -> None:
    assert parse(text.encode()).rules
