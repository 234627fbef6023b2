"""What docs/monitor.md shows of rules is what they are read as."""

from __future__ import annotations

import pytest
from support import ROOT

from scmm_oci.enforcer.monitor.rules.load import parse

PARTS = (ROOT / "docs/monitor.md").read_text().split("```yaml\n")[1:]
BLOCKS = [part.split("```")[0] for part in PARTS]


def test_there_are_some() -> None:
    assert BLOCKS


@pytest.mark.parametrize("text", BLOCKS)
def test_rules_that_are_shown_can_be_read(text: str) -> None:
    assert parse(text.encode()).rules
