"""What lint finds in a policy's files, peers, identity, and in what engines cannot hold. For policy.lint only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.lint.rules import LintFinding, finding
from scmm_oci.policy.merge import calls, files
from scmm_oci.policy.model import Action, Constraint, Network, OnMissing, PathRule, Policy, Protocol
from scmm_oci.policy.paths.exceptions import lowered
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
_ABOVE_SECRETS = frozenset("/".join(one.split("/")[:depth]) or "/" for one in _SECRETS for depth in range(1, 9))
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
    # Those with exceptions by what they are lowered to, and told of by the path that stands in the policy.
    beside = {one.path: rule.path for rule in rules if rule.excluded for one in lowered(rule)}
    given = _Given([one for rule in rules for one in lowered(rule)])
    executable = PatternSet(given.patterns[path] for path in given.having(frozenset({"execute"})))
    writable = PatternSet(given.patterns[path] for path in given.having(_WRITES))
    pairs: dict[str, str] = {}
    for path, other in sorted(_meeting(executable, writable).items()):
        pairs.setdefault(beside.get(path, path), beside.get(other, other))
    for path, other in sorted(pairs.items()):
        what = "" if other == path else f", as {other} may be written"
        yield finding("write-exec-file", f"filesystem: {path}", f"{path} may be executed{what or ' and written'}")
    loaders = [pattern.text for pattern in executable if _runs_loader(pattern)]
    if loaders:
        # A readable tree above makes what is written beneath it readable, and the reverse.
        readable = PatternSet(given.patterns[path] for path in given.having(frozenset({"read_file"})))
        both = min(_meeting(writable, readable), default=None)
        if both is not None:
            loader = beside.get(loaders[0], loaders[0])
            message = f"{loader} is executable, and runs what is written to {beside.get(both, both)}"
            yield finding("loader-runs-written", f"filesystem: {loader}", message)
    for rule in rules:
        yield from _one_file_rule(rule, Pattern.parse(rule.path) if rule.excluded else given.patterns[rule.path])
    yield from _covered(rules, given)


class _Given:
    """The rules by their paths: a pattern for each, and all rights that its rules give."""

    def __init__(self, rules: Sequence[PathRule]) -> None:
        self.patterns: dict[str, Pattern] = {}
        self.rights: dict[str, frozenset[str]] = {}
        # There are few different lists of rights.
        known: dict[tuple[str, ...], frozenset[str]] = {}
        for rule in rules:
            if rule.access not in known:
                known[rule.access] = files.rights_of(rule)
            before = self.rights.get(rule.path)
            if before is None:
                self.patterns[rule.path] = Pattern.parse(rule.path)
            self.rights[rule.path] = known[rule.access] if before is None else before | known[rule.access]

    def having(self, rights: frozenset[str]) -> list[str]:
        """The paths with some of these rights."""
        return [path for path, has in self.rights.items() if not rights.isdisjoint(has)]


def _meeting(ours: PatternSet, theirs: PatternSet) -> dict[str, str]:
    """Those of the one set of which one of the other covers them, or is covered: each with the first such."""
    found: dict[str, str] = {}
    for pattern in ours:
        above = theirs.covering(pattern)
        if above:
            found[pattern.text] = above[0].text
    for pattern in theirs:
        for one in ours.covering(pattern):
            found[one.text] = min(found.get(one.text, pattern.text), pattern.text)
    return found


def _runs_loader(pattern: Pattern) -> bool:
    last = pattern.parts[-1].name if pattern.parts and pattern.kind is Kind.EXACT else None
    if last is not None and _LOADER.fullmatch(last):
        return True
    return any(pattern.grants(path) for path in _LOADERS)


def _one_file_rule(rule: PathRule, pattern: Pattern) -> Iterator[LintFinding]:
    place = f"filesystem: {rule.path}"
    if rule.excluded:
        message = f"{rule.path} has exceptions, so it is for what is there at the start"
        yield finding("except-is-for-what-is-there", place, message)
    path = pattern.literal if pattern.kind is Kind.EXACT else None
    if "read_file" in rule.access:
        if path is not None and is_secret(path):
            yield finding("secret-readable", place, f"{rule.path} holds credentials")
        else:
            near = pattern.literal is None or pattern.literal in _ABOVE_SECRETS
            secrets = [one for one in _SECRETS if near and pattern.grants(one)]
            if secrets and rule.excluded:
                patterns = PatternSet(Pattern.parse(one.path) for one in lowered(rule))
                secrets = [one for one in secrets if patterns.granting(one)]
            if secrets:
                yield finding("secret-readable", place, f"{rule.path} reaches {secrets[0]}")
    wide = path is None or path == "/" or path in ROOTS or is_shared(path)
    root = protected_root(pattern) if wide or rule.on_missing is OnMissing.PRECREATE else None
    if root is not None and wide:
        yield finding("protected-root", place, f"{rule.path} opens {root}, or much of it")
    if root is not None and rule.on_missing is OnMissing.PRECREATE:
        yield finding("precreate-protected", place, f"{rule.path} is made if it is missing, in {root}")


def _covered(rules: Sequence[PathRule], given: _Given) -> Iterator[LintFinding]:
    index = PatternSet(given.patterns.values())
    for rule in rules:
        if rule.on_missing is not OnMissing.SKIP:
            continue
        pattern = Pattern.parse(rule.path) if rule.excluded else given.patterns[rule.path]
        reaching = index.covering(pattern)
        if len(reaching) == 1 and not rule.excluded:
            continue  # itself
        above = [one.text for one in reaching if rule.excluded or (one is not pattern and not covers(pattern, one))]
        if not above:
            continue
        gives: frozenset[str] = frozenset().union(*(given.rights[path] for path in above))
        if files.rights_of(rule) <= gives:
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
            ordered = sorted(conditions, key=calls.constraint_key)
            try:
                count += len(constraints.alternatives(ordered, name, policy.settings.arch))
            except BadInput:
                count += _most(ordered, name, policy)
    return count


def _most(ordered: Sequence[Constraint], name: str, policy: Policy) -> int:
    """How many rules to count for constraints of which a profile has none: filters have a comparison more."""
    try:
        constraints.alternatives(ordered, name, policy.settings.arch, unequal=True)
    except BadInput:
        return 1  # told as untestable
    return constraints.MOST
