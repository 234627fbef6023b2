"""What targets cannot hold: the codes of such findings in one place, and what KEP-6061 refuses of a profile.

A finding with one of these codes says that what was written allows or answers something else than the policy says.
``scmm compile --strict`` makes errors of them.
"""

from __future__ import annotations

from scmm_oci.errors import Finding, short
from scmm_oci.oci.seccomp import MAX_RULES, OciAction, Profile
from scmm_oci.policy.model import Policy

CANNOT_HOLD = frozenset(
    {
        "addresses-not-held",
        "loopback-not-held",
        "not-precreated",
        "no-right-on-files",
        "transitions-left-out",
        "default-wider",  # another architecture has calls that the policy does not know
        "action-not-held",  # another action stands in for one that the target does not have
        "arguments-not-held",  # the target sees no arguments
        "bad-arch-not-held",  # calls of other ABIs are answered otherwise
        "default-number-not-held",  # a default's errno or message
        "docker-ignores",
        "podman-ignores",
        "flags-not-held",  # flags of seccomp(2), log_denials among them
        "floor-unconstrained",  # the runtime needs a call with any arguments
        "listener-not-held",  # who is asked about notify
        "high-bit-not-held",  # a comparison's bit 63
        "not-in-profile",  # sections of the policy beside its calls
        "not-in-unit",
        "number-not-held",  # the message 0 of trace
    }
)


def kep6061(profile: Profile) -> list[Finding]:
    """What a kubelet refuses of a profile that it is handed as an artefact (KEP-6061).

    The limits of 128 rules and 1 MiB hold for every profile of ours already (`oci.seccomp.to_json`); what is left are
    calls that a supervisor decides about.
    """
    used = []
    if OciAction.NOTIFY in (profile.default_action, *(rule.action for rule in profile.syscalls)):
        used.append("the action notify")
    if profile.listener_path is not None or profile.listener_metadata is not None:
        used.append("a listener")
    if len(profile.syscalls) > MAX_RULES:
        used.append(f"more than {MAX_RULES} rules")
    if not used:
        return []
    message = f"a kubelet does not take the profile as an artefact (KEP-6061): it has {' and '.join(used)}"
    return [Finding("kep-6061", message, "answer the calls without a supervisor")]


def listener(policy: Policy) -> list[Finding]:
    """A filter alone does not say whom the kernel asks about `notify`: it is whoever loads it."""
    if policy.settings.listener is None:
        return []
    message = f"a filter has no place for the listener {short(policy.settings.listener.path)}: who loads it names one"
    return [Finding("listener-not-held", message)]
