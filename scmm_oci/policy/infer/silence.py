"""Whether a recorded program could fail without a word under the policy made of it. Called by cli.extract."""

from __future__ import annotations

from scmm_oci.errors import Finding
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import Inference

# What messages can leave a program by. With socketcall(2) and io_uring(7), which stand for others, it may be done too.
WRITING = frozenset(
    {
        *("write", "writev", "pwrite64", "pwritev", "pwritev2"),
        *("send", "sendto", "sendmsg", "sendmmsg", "socketcall"),
        *("io_uring_enter", "io_uring_setup"),
    }
)


def silence(inference: Inference, decisions: Decisions) -> list[Finding]:
    """A finding where no program was seen to write, and the policy lets none: then no error is told either.

    A recording in which all went well shows none of the calls that tell what went wrong. Nothing is said where the
    engine's filter refused such a call, which is another finding, nor where the decisions name one.
    """
    spoken = inference.seen.tallies.keys() | decisions.calls.keys()
    policy = inference.policy
    if policy.settings.default_action.passes or WRITING & spoken:
        return []
    # What --portable adds.
    if any(rule.name in WRITING for rule in policy.syscalls):
        return []
    message = "no program was seen to write anything, and the policy lets none: what fails cannot say why"
    return [Finding("no-writing", message, "--allow write --allow writev if it is to")]
