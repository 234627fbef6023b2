"""A policy → what is dangerous in it, what has no effect, and what an engine or kernel cannot hold. Pure.

Lint judges what the policy says, not what a program needs: each finding has a stable id, which can be ignored.
"""

from __future__ import annotations

from scmm_oci.policy.lint.calls import call_findings
from scmm_oci.policy.lint.order import order_findings
from scmm_oci.policy.lint.rest import engine_findings, file_findings, identity_findings, network_findings
from scmm_oci.policy.lint.rules import RULES, LintFinding, LintRule, Severity
from scmm_oci.policy.model import Policy

__all__ = ["RULES", "LintFinding", "LintRule", "Severity", "lint"]


def lint(policy: Policy, *, floor: frozenset[str] = frozenset()) -> tuple[LintFinding, ...]:
    """Everything found, the worst first, then by id and place.

    Args:
        floor: the names of calls that the runtime needs (tables.floor); none where a launcher starts the program.
    """
    found = [
        *call_findings(policy, floor),
        *identity_findings(policy),
        *engine_findings(policy),
        *order_findings(policy),
    ]
    if policy.filesystem is not None:
        found += file_findings(policy.filesystem)
    if policy.network is not None:
        found += network_findings(policy.network)
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (one.severity.rank, one.id, one.place, one.message)))
