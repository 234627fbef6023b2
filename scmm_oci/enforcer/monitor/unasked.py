"""Rules that hold no more once what was learnt is in a policy: nobody is asked then about calls that they speak of.

Pure. Called by cli.monitor_parts when learning ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from scmm_oci.enforcer.monitor.rules.check import names_of
from scmm_oci.enforcer.monitor.rules.model import Outcome, Rule
from scmm_oci.errors import Finding

_MOST = 8  # calls that a finding names


def unasked(rules: Sequence[Rule], allowed: Collection[str]) -> Iterator[Finding]:
    """A finding for each rule that could refuse calls, or ask about them, which the learnt policy allows.

    None of these calls came while the monitor learnt: what was refused is not learnt (monitor.learnt).

    Args:
        allowed: names of calls.
    """
    for index, rule in enumerate(rules):
        if rule.decision is Outcome.ALLOW:
            continue
        spoken = sorted(allowed if rule.syscalls is None else set(names_of(rule.syscalls)) & set(allowed))
        if not spoken:
            continue
        more = f" and {len(spoken) - _MOST} more" if len(spoken) > _MOST else ""
        message = (
            f"rules[{index}] ({rule.decision}) speaks of {', '.join(spoken[:_MOST])}{more}, which it did not have to "
            "refuse while it was learnt: with the learnt policy nobody is asked about it"
        )
        yield Finding("rule-unasked", message, "where the rule is to hold, say `action: notify` in the merged policy")
