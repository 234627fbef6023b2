"""Comments for a new policy: what each of its sections means, and what of it is held by which layer.

They are for a person who reads such a policy for the first time; nothing reads them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scmm_oci.policy.model import Policy, Protocol, Transition
from scmm_oci.schema import Steps
from scmm_oci.tables.privileges import UNSEEN

_HISTORIES = "`a > b` is b where it came after a, repetitions left out: then these calls alone may follow."


def comments(policy: Policy) -> Mapping[Steps, str]:
    """Path in the policy's document → the comment above it."""
    found: dict[Steps, str] = {}
    if policy.syscalls:
        found["syscalls",] = "System calls by name, and how often each was made. Others get the default action."
    if policy.capabilities and set(UNSEEN) <= set(policy.capabilities):
        found["capabilities",] = (
            "Capabilities that calls were seen to use, and those whose use by root shows in no call:\n"
            f"{', '.join(UNSEEN)}.\n"
            "Take out what the program can do without."
        )
    elif policy.capabilities is not None:
        found["capabilities",] = "Capabilities that calls were seen to use."
    if policy.filesystem is not None:
        found["filesystem",] = (
            "Landlock rights by path. Those of a directory hold for everything beneath it; a wildcard stands for\n"
            "files that are there when the program starts; `on_missing: precreate` makes one that it will make."
        )
    if policy.network is not None:
        found["network",] = _network(policy)
    if policy.scopes is not None:
        found["scopes",] = "What cannot be reached outside of the program's own processes (Landlock ABI 6, Linux 6.12)."
    if policy.transitions is not None:
        found["transitions",] = _order(policy.transitions)
    if policy.serving is not None:
        text = "The same for a process, and those it starts, from the moment that it makes one of the calls in `from`."
        histories = policy.transitions is None and any(one.before for one in policy.serving.transitions)
        found["serving",] = f"{text}\n{_HISTORIES}" if histories else text
    if policy.watch is not None:
        found["watch",] = "What scmm-watch does about a call that does not follow: count, alert, freeze or kill."
    return found


def _order(transitions: Sequence[Transition]) -> str:
    text = "Which call may follow which in a thread. scmm-watch holds it; no filter can."
    return f"{text}\n{_HISTORIES}" if any(one.before for one in transitions) else text


def _network(policy: Policy) -> str:
    text = "Landlock holds TCP ports (ABI 4, Linux 6.7). No layer here holds addresses: those are for the reader."
    network = policy.network
    rules = (*network.outbound, *network.inbound) if network is not None else ()
    if any(rule.protocol is Protocol.UDP for rule in rules):
        text += "\nUDP ports are held from ABI 10 on (Linux 7.2); before that every one is allowed."
    return text
