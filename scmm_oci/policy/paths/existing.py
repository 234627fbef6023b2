"""Proposals for files that are there when a program starts: directories of them, and trees of directories.

Read-only files with fixed names stay exact: only a listing, a difference between recordings, many files of one kind or
a name that tells of others speaks for more. Called by policy.paths.generalise.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from scmm_oci.policy.paths import templates
from scmm_oci.policy.paths.evidence import Entry, Tree
from scmm_oci.policy.paths.names import differ
from scmm_oci.policy.paths.proposals import Evidence, Proposal, ProposalKind, counted, make
from scmm_oci.policy.paths.protected import within
from scmm_oci.policy.paths.templates import LIBRARY, READ, SETTINGS, Group

# So many files with one ending in one directory, and this part of all files there, are what the directory is for.
MANY = 8
_SHARE = 0.75
# So many sub-directories, each with evidence of its own, make a tree.
BRANCHES = 3
# So many files make a proposal that is there to be chosen.
_SOME = 3

_DATA = frozenset({"read_file", "write_file", "truncate"})


def existing(tree: Tree, taken: frozenset[str]) -> list[Proposal]:
    """Proposals for files and directories that were there; of each file the tightest that admits what varies.

    Args:
        taken: paths that an automatic proposal stands for already.
    """
    groups, settings = _groups(tree, taken)
    found = [templates.of_settings(base, entries) for base, entries in sorted(settings.items())]
    wholes = {}
    for group in groups:
        evidence = _evidence(group)
        if evidence:
            wholes[group.base, group.kind] = _directory(group, evidence, automatic=True)
    strong = {base for (base, kind), one in wholes.items() if kind == "read" and one.automatic}
    trees = _trees([group for group in groups if group.kind == "read"], strong, tree)
    tops = {base for base, one in trees.items() if one.automatic}
    found += trees.values()
    for group in groups:
        if group.kind == "read" and any(above in tops for above in _upwards(group.base)):
            continue
        whole = wholes.get((group.base, group.kind))
        if whole:
            found.append(whole)
        if whole is None or not whole.automatic:
            found += templates.of_names(group)
        if whole is None and len(group.names) >= _SOME:
            words = f"{counted(len(group.entries), 'file', 'files')} used here"
            found.append(_directory(group, [Evidence(0.3, len(group.entries), words)], automatic=False))
    found += templates.of_directories(tree, taken)
    return found


def _groups(tree: Tree, taken: frozenset[str]) -> tuple[list[Group], dict[str, list[Entry]]]:
    groups: dict[tuple[str, str], Group] = {}
    settings: dict[str, list[Entry]] = defaultdict(list)
    for entry in tree.files:
        need, directory = entry.need, entry.directory
        if not need.access or need.created or directory.made or need.path in taken or entry.secret:
            continue
        kind = "read" if need.access == READ else "data" if need.access <= _DATA else ",".join(sorted(need.access))
        if kind == "read" and need.path.startswith("/usr/"):
            base = next((one for one in SETTINGS if within(need.path, one)), None)
            if base:
                settings[base].append(entry)
                continue
        key = (directory.template, kind)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(*key)
        group.entries.append(entry)
        group.directories[directory.path] = directory
        group.names[entry.name] = group.names.get(entry.name, 0) | entry.mask
    for group in groups.values():
        for one in group.directories.values():
            group.whole |= one.mask
    return [group for _, group in sorted(groups.items())], settings


def _evidence(group: Group) -> list[Evidence]:
    """What speaks for all files of the directory; nothing if they are to be looked at one by one."""
    if group.kind not in ("read", "data"):
        return []
    names = group.names
    total = counted(len(names), "file", "files")
    plain = [name for name, star in group.stars.items() if star is None]
    changing = [name for name in plain if names[name] != group.whole] if group.whole.bit_count() > 1 else []
    different = Evidence(0.9, len(changing), f"{total} used here, {len(changing)} of them not in every recording")
    if group.kind == "data":
        # Writing asks for more: names that come and go, and a place for data.
        return [different] if not group.installed and changing and differ(names[name] for name in plain) else []
    found = []
    if group.listed and len(names) > 1:
        found.append(Evidence(0.9, len(names), f"the program lists the directory and opens {total} of it"))
    if changing:
        found.append(different)
    if len(plain) < MANY:
        return found
    endings = Counter(name.rpartition(".")[2] for name in plain if "." in name and not LIBRARY.fullmatch(name))
    # Which libraries a program loads is fixed when it is built.
    del endings["so"]
    ending, most = min(endings.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    if most >= MANY and most >= _SHARE * len(names):
        found.append(Evidence(0.6, most, f"{most} files end in .{ending}"))
    return found


def _directory(group: Group, evidence: list[Evidence], *, automatic: bool) -> Proposal:
    return make(
        f"{group.base}/*",
        ProposalKind.DIRECTORY,
        access=group.access,
        needs=[entry.need.path for entry in group.entries],
        evidence=evidence,
        automatic=automatic,
        secret=group.secret,
    )


def _upwards(base: str) -> Iterator[str]:
    """The directory and all above it, but the root."""
    while base:
        yield base
        base = base.rpartition("/")[0]


def _trees(groups: list[Group], strong: set[str], tree: Tree) -> Mapping[str, Proposal]:
    """By directory: proposals for whole trees that no automatic tree holds.

    Args:
        strong: directories whose files have an automatic proposal.
    """
    secrets: dict[str, str] = {}
    for one in tree.directories:
        if one.secret:
            secrets[one.template] = min(one.secret, secrets.get(one.template, one.secret))
    children: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        for above in _upwards(group.base):
            children[above.rpartition("/")[0]].add(above)
    # From the deepest upwards: a tree is a branch of the one above.
    strong = set(strong)
    automatic: dict[str, bool] = {}
    for base in sorted(filter(None, children), key=lambda base: (-base.count("/"), base)):
        if len(children[base] & strong) >= BRANCHES:
            every = children[base] <= strong
            probe = make(
                f"{base}/**",
                ProposalKind.RECURSIVE,
                access=READ,
                needs=(),
                evidence=(),
                automatic=every,
                secret=secrets.get(base),
            )
            automatic[base] = probe.automatic
            if probe.automatic:
                strong.add(base)
    kept = {base for base in automatic if not any(automatic.get(one) for one in _upwards(base.rpartition("/")[0]))}
    beneath: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        for above in _upwards(group.base):
            if above in kept:
                beneath[above].append(group)
    return {base: _tree(base, beneath[base], children[base], strong, secrets.get(base)) for base in sorted(kept)}


def _tree(base: str, groups: list[Group], children: set[str], strong: set[str], secret: str | None) -> Proposal:
    branches = children & strong
    words = f"{len(branches)} of {len(children)} sub-directories have evidence of their own"
    return make(
        f"{base}/**",
        ProposalKind.RECURSIVE,
        access=READ,
        needs=[entry.need.path for group in groups for entry in group.entries],
        evidence=[Evidence(0.9, len(branches), words)],
        automatic=branches == children,
        secret=secret,
    )
