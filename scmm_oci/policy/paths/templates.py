"""Proposals for names that vary, of files and directories that are there when a program starts; and groups of files.

Called by policy.paths.existing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from scmm_oci.policy.paths.evidence import Directory, Entry, Tree
from scmm_oci.policy.paths.globs import escape
from scmm_oci.policy.paths.names import differ, look, series
from scmm_oci.policy.paths.proposals import Evidence, Proposal, ProposalKind, counted, make

READ = frozenset({"read_file"})
LIBRARY = re.compile(r"(.+?\.so)(?:\.[0-9]+)+")
_LIBRARY_DIRECTORY = re.compile(r"/(?:usr/|usr/local/|opt/(?:.+/)?)?lib(?:32|64|x32)?(?:/|\Z)")
# Data of languages and time zones, which settings choose from: locale(7), tzfile(5).
SETTINGS = ("/usr/share/zoneinfo", "/usr/share/locale", "/usr/lib/locale")


@dataclass
class Group:
    """Files in directories of one template that need alike rights.

    Attributes:
        base: the template, without an end.
        kind: `read`, `data` (written, or read and written) or the rights in words.
        names: name → recordings.
        whole: the recordings of the directories.
    """

    base: str
    kind: str
    entries: list[Entry] = field(default_factory=list)
    directories: dict[str, Directory] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    whole: int = 0

    @property
    def access(self) -> frozenset[str]:
        """The rights of all files together."""
        return union(self.entries)

    @property
    def installed(self) -> bool:
        """Whether it is of installed software."""
        return any(one.installed for one in self.directories.values())

    @property
    def listed(self) -> bool:
        """Whether the program read the entries of one of the directories."""
        return any(one.need is not None and one.need.listed for one in self.directories.values())

    @property
    def secret(self) -> str | None:
        """Credentials directly in one of the directories; the files of a directory do not reach beneath."""
        return min((one.secret_file for one in self.directories.values() if one.secret_file), default=None)

    @cached_property
    def stars(self) -> dict[str, str | None]:
        """Name → the pattern of names like it, or None if it is to stay as it is. For when all entries are there."""
        stars: dict[str, str | None] = dict.fromkeys(sorted(self.names))
        shapes: dict[str, list[str]] = defaultdict(list)
        for name in stars:
            shape = look(name).shape
            if shape != name:
                shapes[shape].append(name)
        for names in shapes.values():
            masks = [(name, self.names[name]) for name in names]
            stars.update(zip(names, series(masks, self.whole, installed=self.installed, files=True), strict=True))
        return stars


def union(entries: list[Entry]) -> frozenset[str]:
    """The rights of all entries together."""
    return frozenset().union(*{entry.need.access for entry in entries})


def of_names(group: Group) -> Iterator[Proposal]:
    """Proposals for names that vary, fixed names in directories that do, and versions of libraries.

    One version of a library is no evidence that another will come: such a template is there to be chosen.
    """
    varies = is_wild(group.base)
    if not varies and not any(group.stars.values()) and not any(map(LIBRARY.fullmatch, group.names)):
        return
    slots: dict[str, list[Entry]] = defaultdict(list)
    libraries: dict[str, list[Entry]] = defaultdict(list)
    for entry in group.entries:
        library = LIBRARY.fullmatch(entry.name)
        star = group.stars[entry.name]
        if library and _LIBRARY_DIRECTORY.match(entry.directory.path):
            libraries[escape(library.group(1)) + "*"].append(entry)
        elif varies or star:
            slots[star or escape(entry.name)].append(entry)
    for name, entries in sorted(slots.items()):
        wild = group.stars[entries[0].name] is not None
        where = "with numbers or random letters in the name" if wild else "in directories whose names vary"
        words = f"{counted(len(entries), 'file', 'files')} {where}"
        # What may be executed is said by its name.
        automatic = not (wild and "execute" in group.access)
        yield _of(f"{group.base}/{name}", entries, Evidence(0.9, len(entries), words), automatic=automatic)
    for name, entries in sorted(libraries.items()):
        words = f"{counted(len(entries), 'version', 'versions')} of a library"
        automatic = "execute" not in group.access and (varies or differ(entry.mask for entry in entries))
        yield _of(f"{group.base}/{name}", entries, Evidence(0.6, len(entries), words), automatic=automatic)


def _of(text: str, entries: list[Entry], evidence: Evidence, *, automatic: bool) -> Proposal:
    needs = [entry.need.path for entry in entries]
    access = union(entries)
    return make(text, ProposalKind.TEMPLATE, access=access, needs=needs, evidence=[evidence], automatic=automatic)


def of_settings(base: str, entries: list[Entry]) -> Proposal:
    """The proposal for data of languages or time zones: automatic if recordings took different ones."""
    words = f"{counted(len(entries), 'file', 'files')} of languages or time zones, which settings choose from"
    different = len({entry.mask for entry in entries}) > 1
    return _of(f"{base}/**", entries, Evidence(0.7, len(entries), words), automatic=different)


def of_directories(tree: Tree, taken: frozenset[str]) -> Iterator[Proposal]:
    """Proposals for directories that the program uses, and whose names, or those above them, vary."""
    slots: dict[str, list[Directory]] = defaultdict(list)
    for one in tree.directories:
        if one.need and one.need.access and not one.made and one.path not in taken and is_wild(one.template):
            # A last component with wildcards stands for files: of a directory all beneath it is meant.
            slots[one.template + ("/**" if one.star else "")].append(one)
    for text, directories in sorted(slots.items()):
        access = frozenset().union(*(one.need.access for one in directories if one.need))
        words = f"{counted(len(directories), 'directory', 'directories')} with a part of the path that varies"
        yield make(
            text,
            ProposalKind.TEMPLATE,
            access=access,
            needs=[one.path for one in directories],
            evidence=[Evidence(0.9, len(directories), words)],
            automatic="execute" not in access,
            secret=min((one.secret for one in directories if one.secret), default=None),
        )


def is_wild(template: str) -> bool:
    """Whether a template made here has a wildcard."""
    return "*" in template.replace("\\*", "")
