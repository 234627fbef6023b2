"""Where calls pass through a multiplexer (socketcall, ipc) of which a policy says otherwise: what targets do not hold.

A policy holds in a multiplexer too, unless it has a rule of its own for that (policy.answers). libseccomp adds a rule
for the multiplexer to each rule for a call that goes through it. It compares conditions there with the multiplexer's
arguments, which are others (its arch-x86.c, ``x86_rule_add``), and adds the rule also where the profile says of the
multiplexer what the default does, since no rule is made for that. Pure.
"""

from __future__ import annotations

from scmm_oci.errors import Finding
from scmm_oci.policy.answers import Answer, Entry, entries
from scmm_oci.policy.model import Policy, Settings
from scmm_oci.tables.multiplexed import multiplexers


def not_held(policy: Policy, *, conditions: bool) -> list[Finding]:
    """One finding for each multiplexer of an ABI that may answer calls otherwise than the policy.

    Args:
        conditions: whether the target has conditions that it cannot hold there.
    """
    said = entries(policy)
    findings = []
    for arch in policy.settings.architectures:
        for multiplexer, members in multiplexers(arch).items():
            own = said.get(multiplexer)
            if own is None:
                names = [name for name in members if conditions and _limited(said.get(name), policy.settings)]
            elif _overrides(own, policy.settings):
                continue
            else:
                names = [name for name in members if _differs(said.get(name), policy.settings)]
            if names:
                message = f"{multiplexer} of {arch} is answered for {', '.join(sorted(names))}, with any arguments"
                hint = f"give {multiplexer} a rule without constraints that is not the default"
                findings.append(Finding("arguments-not-held", message, hint))
    return findings


def _limited(entry: Entry | None, settings: Settings) -> bool:
    """Whether arguments decide about a call."""
    if entry is None:
        return False
    fallback = Answer.of(entry.plain, settings)
    return any(Answer.of(rule, settings) != fallback for rule in entry.constrained)


def _overrides(own: Entry, settings: Settings) -> bool:
    """Whether a multiplexer's own entry becomes a rule without conditions, which goes before all others."""
    return not _limited(own, settings) and Answer.of(own.plain, settings) != Answer.of(None, settings)


def _differs(entry: Entry | None, settings: Settings) -> bool:
    """Whether anything but the default is said of a call."""
    if entry is None:
        return False
    default = Answer.of(None, settings)
    return any(Answer.of(rule, settings) != default for rule in (entry.plain, *entry.constrained))
