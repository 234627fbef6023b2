"""Proposals for what a program makes: the directory in which it makes it, when names vary or cannot be made beforehand.

A file that is made during a run is not there when the rules are opened, so only a directory above can stand for it.
Also what a process finds of itself in /proc, which is made anew with each process. Called by policy.paths.generalise.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from scmm_oci.policy.paths.evidence import Directory, Tree
from scmm_oci.policy.paths.names import differ, look
from scmm_oci.policy.paths.proposals import Evidence, Need, Proposal, ProposalKind, counted, make, nameable
from scmm_oci.policy.paths.protected import is_shared, software_root

_OWN = re.compile(r"(/proc/(?:self|thread-self)/(?:task|fd|fdinfo))/[0-9]+(?:/|\Z)")
_OTHER = re.compile(r"/proc/[0-9]+(?:/|\Z)")
# Writing and executing in one place undoes the point of both rights: never unasked.
_ASK = frozenset({"execute"})


@dataclass
class _Group:
    """What was made below directories of one template."""

    anchors: dict[str, Directory] = field(default_factory=dict)
    made: list[tuple[str, Need, int]] = field(default_factory=list)
    """(path below the anchor, need, recordings)"""


_READS = frozenset({"read_file", "read_dir"})


def own_processes(needs: Sequence[Need]) -> tuple[list[Proposal], list[Need]]:
    """Proposals for /proc/self/task and its like, and for other processes; and the needs that are not of processes."""
    own: dict[str, list[Need]] = defaultdict(list)
    others: list[Need] = []
    left: list[Need] = []
    for need in needs:
        match = _OWN.match(need.path) if need.path.startswith("/proc/") and not need.missing else None
        if match and nameable(need.path):
            own[match.group(1)].append(need)
        elif _OTHER.match(need.path) and not need.missing and nameable(need.path):
            others.append(need)
        else:
            left.append(need)
    found = []
    for base, group in sorted(own.items()):
        words = f"{_paths(group)} with numbers of the program's own threads or descriptors"
        # Who may write to threads may write to task/TID/mem, and so to memory that is executed (proc(5)).
        reads = all(need.access <= _READS for need in group)
        found += _numbered(f"{base}/**", group, [Evidence(0.95, len(group), words)], automatic=reads)
    words = f"{_paths(others)} of other processes, whose numbers are others the next time"
    found += _numbered("/proc/**", others, [Evidence(0.8, len(others), words)], automatic=False)
    return found, left


def _paths(needs: list[Need]) -> str:
    return counted(len({need.path for need in needs}), "path", "paths")


def _numbered(text: str, needs: list[Need], evidence: list[Evidence], *, automatic: bool) -> list[Proposal]:
    access = frozenset().union(*(need.access for need in needs))
    if not access:
        return []
    paths = [need.path for need in needs]
    kind = ProposalKind.RECURSIVE
    return [make(text, kind, access=access, needs=paths, evidence=evidence, automatic=automatic)]


def created(tree: Tree) -> list[Proposal]:
    """A proposal, `DIR/**`, for each directory in which something was made; automatic where it could not do without.

    That is where a name varies or looks as if it did, something cannot be made beforehand, the directory itself varies,
    or the program makes several files in a directory of its own. Names made beforehand have no such need: then the
    proposal is there to be chosen.
    """
    groups: dict[str, _Group] = defaultdict(_Group)
    for entry in tree.files:
        if entry.need.created or entry.directory.made:
            _add(groups, entry.directory.anchor, entry.need, entry.mask)
    for one in tree.directories:
        if one.made and one.need:
            _add(groups, one.anchor, one.need, one.mask)
    return [found for base, group in sorted(groups.items()) for found in _proposals(base, group)]


def _add(groups: dict[str, _Group], anchor: Directory, need: Need, mask: int) -> None:
    group = groups[anchor.template]
    group.anchors[anchor.path] = anchor
    group.made.append((need.path[len(anchor.path) + 1 :], need, mask))


def _proposals(base: str, group: _Group) -> Iterator[Proposal]:
    whole = 0
    for anchor in group.anchors.values():
        whole |= anchor.mask
    reasons = _Reasons(base, group, whole)
    # In a directory of its own all that a program makes is alike; elsewhere what can be made beforehand stays exact.
    everything = reasons.own or not reasons.pressing
    moving = [need for name, need, mask in group.made if everything or reasons.moves(name, need, mask)]
    ask = [need for need in moving if need.access & _ASK]
    plain = [need for need in moving if not need.access & _ASK]
    holders = [
        one.need for one in group.anchors.values() if one.need and one.need.access and not one.need.access & _ASK
    ]
    access = frozenset().union(*(need.access for need in (*plain, *holders)))
    # What has no more rights than these needs no rule of its own beside this one.
    if not everything:
        chosen = {need.path for need in moving}
        rest = [need for _, need, _ in group.made if need.path not in chosen]
        plain += [need for need in rest if need.access <= access]
    secret = min((anchor.secret for anchor in group.anchors.values() if anchor.secret), default=None)
    # A base is a template; what is installed has no wildcards in its first components.
    secret = secret or software_root(base)
    text = f"{base}/**"
    if plain and access:
        yield make(
            text,
            ProposalKind.RECURSIVE,
            access=access,
            needs=[need.path for need in (*plain, *holders)],
            evidence=reasons.evidence(),
            automatic=bool(reasons.pressing or reasons.own),
            secret=secret,
        )
    if ask:
        words = f"{counted(len(ask), 'file', 'files')} made here and executed"
        yield make(
            text,
            ProposalKind.RECURSIVE,
            access=access.union(*(need.access for need in ask)),
            needs=[need.path for need in (*ask, *plain, *holders)],
            evidence=[*reasons.evidence(), Evidence(0.3, len(ask), words)],
            automatic=False,
            secret=secret,
        )


class _Reasons:
    """Why what was made in a group has to be given a directory."""

    def __init__(self, base: str, group: _Group, whole: int) -> None:
        self.whole = whole
        self.several = whole.bit_count() > 1
        self.total = len(group.made)
        looks = {name: [look(one) for one in name.split("/")] for name, _, _ in group.made}
        shapes = {name: "/".join([one.shape for one in parts]) for name, parts in looks.items()}
        times = Counter(shapes.values())
        self.volatile = {
            name for name, parts in looks.items() if times[shapes[name]] > 1 or any(one.varies for one in parts)
        }
        masks = [mask for _, _, mask in group.made]
        self.changing = self.several and (differ(masks) or sum(mask != whole for mask in masks) > 1)
        self.sometimes = sum(mask != whole for mask in masks) if self.changing else 0
        self.looking = sum(name in self.volatile for name, _, _ in group.made)
        self.exclusive = sum(need.exclusive for _, need, _ in group.made)
        self.elsewhere = "*" in base.replace("\\*", "")
        shared = all(is_shared(one) or one in ("/tmp", "/var/tmp", "/dev/shm") for one in group.anchors)
        deep = min(one.depth for one in group.anchors.values()) >= 2
        self.own = self.total > 1 and deep and not shared
        self.pressing = bool(self.sometimes or self.looking or self.exclusive or self.elsewhere)

    def moves(self, name: str, need: Need, mask: int) -> bool:
        """Whether the path needs its directory: it cannot be made before the program starts."""
        return (
            self.elsewhere
            or need.exclusive
            or "/" in name
            or (self.changing and mask != self.whole)
            or name in self.volatile
        )

    def evidence(self) -> list[Evidence]:
        total = counted(self.total, "path", "paths")
        found = [Evidence(0.3, self.total, f"{total} made here")]
        if self.sometimes:
            found.append(Evidence(0.9, self.sometimes, f"{self.sometimes} of them not in every recording"))
        if self.looking:
            found.append(Evidence(0.8, self.looking, f"{self.looking} with numbers or random letters in the name"))
        if self.exclusive:
            found.append(Evidence(0.8, self.exclusive, f"{self.exclusive} that cannot be made beforehand"))
        if self.elsewhere:
            found.append(Evidence(0.8, self.total, "in a directory whose name varies"))
        if self.own:
            found.append(Evidence(0.6, self.total, "in a directory of the program's own"))
        return found
