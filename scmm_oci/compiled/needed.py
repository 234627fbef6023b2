"""Calls without which nothing starts or ends, whatever the policy: the launcher's execve, and what every program makes.

A policy that refuses one of them is refused. Where it merely says nothing of them they are allowed, and that is said:
the seed system's example policy relies on it.
"""

from __future__ import annotations

from dataclasses import replace

from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.answers import Answer, Entry, entries
from scmm_oci.policy.model import Action, Origin, Policy, SyscallRule
from scmm_oci.tables import syscalls

# Name → why. The launcher loads the filter and then makes one call; a program ends, and comes back from its signal
# handlers (sigreturn(2): the kernel or the C library puts the call there, so that it is in no program's source).
NEEDED = {
    "execve": "the launcher and container runtimes start the program with it",
    "exit": "a thread ends with it",
    "exit_group": "the program ends with it",
    "rt_sigreturn": "it is how a signal handler ends",
    "sigreturn": "it is how a signal handler ends",
    "restart_syscall": "the kernel goes on with it after a call was interrupted",
}
# Those of which a refusal is certain to break every program. A program may never interrupt a call, or end a thread.
_ALWAYS = ("execve", "exit_group", "rt_sigreturn")

# Answers after which the call may still be made: someone else decides.
_ASKS = (Action.NOTIFY, Action.TRACE)


def check(policy: Policy, *, asks: bool = False) -> None:
    """Find out whether the policy could serve any program.

    Args:
        asks: it is for a compiled file: what it refuses may be asked about, or only told (modes of the launcher), so it
            need not allow any call; and it may be there for a watch alone, so it need not refuse any.

    Raises:
        BadInput: it allows no call, or asks for nothing at all, or refuses what everything needs; with all of it.
    """
    found = [*(() if asks and (allows_none(policy) or _is_watched(policy)) else _empty(policy)), *_refused(policy)]
    if found:
        raise BadInput(found)


def allows_none(policy: Policy) -> bool:
    """Whether the policy has no rule for any call, and refuses by default."""
    return not policy.settings.default_action.passes and not policy.syscalls


def _is_watched(policy: Policy) -> bool:
    return policy.transitions is not None or policy.serving is not None


def _empty(policy: Policy) -> list[Problem]:
    passes = policy.settings.default_action.passes
    if allows_none(policy):
        message = "is empty, and the default is to refuse: no program could start"
        hint = "give calls or groups of them such as @system-service, or let the default be allow"
        return [Problem(".syscalls", message, hint)]
    layers = (policy.filesystem, policy.network, policy.scopes, policy.capabilities, policy.settings.run_as)
    if passes and not policy.syscalls and all(layer is None for layer in layers):
        message = "restricts nothing: no calls, files, network, scopes, capabilities or ids"
        return [Problem(".", message, "`scmm extract` makes a policy from a recording")]
    return []


def _refused(policy: Policy) -> list[Problem]:
    found = []
    for name, entry in sorted(entries(policy).items()):
        if name in _ALWAYS and not _can_pass(entry, policy):
            rules = [*([entry.plain] if entry.plain is not None else []), *entry.constrained]
            actions = " or ".join(sorted({rule.action.value for rule in rules}))
            message = f"{name} is answered {actions}: {NEEDED[name]}"
            found.append(Problem(".syscalls", message, "take the rule out"))
    return found


def _can_pass(entry: Entry, policy: Policy) -> bool:
    answers = [Answer.of(entry.plain, policy.settings), *(Answer.of(one, policy.settings) for one in entry.constrained)]
    return any(answer.action.passes or answer.action in _ASKS for answer in answers)


def completed(policy: Policy) -> tuple[Policy, list[Finding]]:
    """The policy with rules for what is needed and not listed; one finding names what was added."""
    settings = policy.settings
    if settings.default_action.passes:
        return policy, []
    known: set[str] = set().union(*(syscalls.numbers(arch) for arch in settings.architectures))
    spoken = {rule.name for rule in policy.syscalls} | entries(policy).keys()
    added = tuple(
        SyscallRule(name, Action.ALLOW, origin=Origin(reason=reason))
        for name, reason in NEEDED.items()
        if name in known and name not in spoken
    )
    if not added:
        return policy, []
    names = ", ".join(rule.name for rule in added)
    message = f"allowed besides, because every program or the launcher needs it: {names}"
    return replace(policy, syscalls=(*policy.syscalls, *added)), [Finding("needed-added", message)]
