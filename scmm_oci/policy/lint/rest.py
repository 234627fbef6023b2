"""What lint finds in a policy's files, peers, identity, and in what engines cannot hold. For policy.lint only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.lint.rules import LintFinding, finding
from scmm_oci.policy.merge import calls, files
from scmm_oci.policy.model import Action, Network, OnMissing, PathRule, Policy, Protocol
from scmm_oci.policy.paths.patterns import Kind, Pattern, PatternSet, covers
from scmm_oci.policy.paths.protected import ROOTS, is_secret, is_shared, protected_root

# ELF loaders by the names that the ABIs give them, and where they lie: ld.so(8), musl's INSTALL.
_LOADER = re.compile(r"ld(?:64)?(?:-linux[a-z0-9_-]*|-musl-[a-z0-9_-]+|)\.so(?:\.[0-9]+)?|ld-[0-9.]+\.so")
_LOADERS = (
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/lib/ld-linux.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
)
# A few that every machine may have: what reads these reads secrets.
_SECRETS = ("/etc/shadow", "/etc/gshadow", "/root/.ssh/id_rsa", "/run/secrets/x", "/var/run/secrets/x")
_WRITES = frozenset({"write_file", "make_reg"})
# As good as root of the host, or of all that it runs: capabilities(7), and grsecurity's "False Boundaries".
_STRONG = frozenset(
    f"CAP_{word}"
    for word in [
        "BPF",
        "CHECKPOINT_RESTORE",
        "DAC_READ_SEARCH",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "PERFMON",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_MODULE",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_TIME",
    ]
)
# Of one profile: engines refuse more (docs/formats.md).
_MOST_RULES = 128


def file_findings(rules: Sequence[PathRule]) -> Iterator[LintFinding]:
    """Everything about rules for files."""
    patterns = {rule.path: Pattern.parse(rule.path) for rule in rules}
    rights: dict[str, frozenset[str]] = dict.fromkeys(patterns, frozenset())
    for rule in rules:
        rights[rule.path] |= files.rights_of(rule)
    writable = [path for path, has in sorted(rights.items()) if has & _WRITES]
    for path in sorted(rights):
        if "execute" not in rights[path]:
            continue
        for other in writable:
            if covers(patterns[path], patterns[other]) or covers(patterns[other], patterns[path]):
                what = "" if other == path else f", as {other} may be written"
                yield finding(
                    "write-exec-file", f"filesystem: {path}", f"{path} may be executed{what or ' and written'}"
                )
                break
    loaders = [path for path in sorted(rights) if "execute" in rights[path] and _runs_loader(patterns[path])]
    readable = [path for path, has in rights.items() if "read_file" in has]
    # A readable tree above makes what is written beneath it readable, and the reverse.
    both = next(
        (
            path
            for path in (writable if loaders else [])
            if any(covers(patterns[one], patterns[path]) or covers(patterns[path], patterns[one]) for one in readable)
        ),
        None,
    )
    if both is not None:
        message = f"{loaders[0]} is executable, and runs what is written to {both}"
        yield finding("loader-runs-written", f"filesystem: {loaders[0]}", message)
    for rule in rules:
        yield from _one_file_rule(rule, patterns[rule.path])
    yield from _covered(rules, patterns)


def _runs_loader(pattern: Pattern) -> bool:
    last = pattern.parts[-1].name if pattern.parts and pattern.kind is Kind.EXACT else None
    if last is not None and _LOADER.fullmatch(last):
        return True
    return any(pattern.grants(path) for path in _LOADERS)


def _one_file_rule(rule: PathRule, pattern: Pattern) -> Iterator[LintFinding]:
    place = f"filesystem: {rule.path}"
    exact = pattern.kind is Kind.EXACT and all(part.name is not None for part in pattern.parts)
    path = "/" + "/".join(part.name or "" for part in pattern.parts)
    if "read_file" in rule.access:
        if exact and is_secret(path):
            yield finding("secret-readable", place, f"{rule.path} holds credentials")
        else:
            secrets = [one for one in _SECRETS if pattern.grants(one)]
            if secrets:
                yield finding("secret-readable", place, f"{rule.path} reaches {secrets[0]}")
    root = protected_root(pattern)
    if root is not None and (not exact or path == "/" or path in ROOTS or is_shared(path)):
        yield finding("protected-root", place, f"{rule.path} opens {root}, or much of it")
    if root is not None and rule.on_missing is OnMissing.PRECREATE:
        yield finding("precreate-protected", place, f"{rule.path} is made if it is missing, in {root}")


def _covered(rules: Sequence[PathRule], patterns: dict[str, Pattern]) -> Iterator[LintFinding]:
    index = PatternSet(patterns.values())
    by_path: dict[str, list[PathRule]] = {}
    for rule in rules:
        by_path.setdefault(rule.path, []).append(rule)
    for rule in rules:
        pattern = patterns[rule.path]
        if rule.on_missing is not OnMissing.SKIP:
            continue
        near = patterns.values()
        if all(part.name is not None for part in pattern.parts):
            near = {
                one.text: one for one in index.granting("/" + "/".join(p.name or "" for p in pattern.parts))
            }.values()
        given: set[str] = set()
        for other in near:
            if other.text != pattern.text and covers(other, pattern) and not covers(pattern, other):
                given.update(right for one in by_path[other.text] for right in files.rights_of(one))
        if files.rights_of(rule) <= given:
            yield finding("covered-rule", f"filesystem: {rule.path}", f"what {rule.path} has, other rules give anyway")


def network_findings(network: Network) -> Iterator[LintFinding]:
    """Everything about rules for peers."""
    for direction in ("outbound", "inbound"):
        rules = getattr(network, direction)
        if any(rule.addresses and "any" not in rule.addresses for rule in rules):
            yield finding("addresses-not-held", f"network: {direction}", "rules name addresses of peers")
        if any(rule.protocol is Protocol.UDP for rule in rules):
            yield finding("udp-needs-abi-10", f"network: {direction}", "there are rules for UDP")


def identity_findings(policy: Policy) -> Iterator[LintFinding]:
    """Everything about who the program is."""
    run_as = policy.settings.run_as
    if run_as is not None and run_as.uid == 0:
        yield finding("run-as-root", "settings: run_as", "the program runs with uid 0")
    for name in policy.capabilities or ():
        if name in _STRONG:
            yield finding("strong-capability", f"capabilities: {name}", f"{name} reaches beyond the container")


def engine_findings(policy: Policy) -> Iterator[LintFinding]:
    """Everything that an engine or a kernel cannot hold."""
    settings = policy.settings
    actions = {rule.action for rule in policy.syscalls} | {settings.default_action}
    if Action.TRACE in actions:
        yield finding("trace-without-tracer", "syscalls", "there are calls that are answered trace")
    if Action.NOTIFY in actions and (settings.listener is None or settings.listener.path is None):
        yield finding("notify-without-listener", "settings: listener", "calls are answered notify, and nobody listens")
    if settings.log_denials:
        yield finding("log-denials", "settings: log_denials", "what is refused is logged")
    if settings.bad_arch_action is not Action.KILL:
        message = f"calls of other ABIs are answered {settings.bad_arch_action}"
        yield finding("bad-arch-action", "settings: bad_arch_action", message)
    if policy.scopes:
        yield finding("scopes-need-abi-6", "scopes", f"the policy keeps in {', '.join(sorted(policy.scopes))}")
    count = _profile_rules(policy)
    if count > _MOST_RULES:
        yield finding("too-many-rules", "syscalls", f"the policy comes to about {count} rules")


def _profile_rules(policy: Policy) -> int:
    """How many rules a profile has at least: one for each answer, and one for each way in which constraints hold."""
    view = calls.view(policy)
    plain = {entry.fallback for entry in view.entries.values() if not entry.clauses and entry.fallback != view.default}
    count = len(plain)
    for name, entry in view.entries.items():
        for conditions, _ in entry.clauses:
            try:
                ordered = sorted(conditions, key=calls.constraint_key)
                count += len(constraints.alternatives(ordered, name, policy.settings.arch))
            except BadInput:
                count += 1  # told as untestable
    return count
