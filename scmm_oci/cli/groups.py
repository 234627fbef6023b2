"""``scmm groups``: the named groups of system calls that policies can use, as tables and trees or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from scmm_oci.cli.output import console, data
from scmm_oci.errors import BadInput, unknown_value
from scmm_oci.tables import groups as groups_table
from scmm_oci.tables import syscalls
from scmm_oci.tables.groups import Condition, Group, Member, expand, holding, on_arch

if TYPE_CHECKING:
    from rich.tree import Tree

_EXAMPLE = """\b
Example:
  scmm-groups
  scmm-groups @file-io @network-client --arch aarch64
  scmm-groups --of ptrace"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[@GROUP...]")
@click.option("--of", "calls", multiple=True, metavar="CALL", help="Only groups that hold this system call.")
@click.option(
    "--arch",
    type=click.Choice(syscalls.ARCHES),
    help="Only calls that this architecture has, with its places of arguments; else those of any.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on stdout.")
def groups(*, names: Sequence[str], calls: Sequence[str], arch: str | None, as_json: bool) -> None:
    """Print the groups of system calls.

    Without names, all groups are listed; with names, what is in them. Groups of systemd are what `systemd-analyze
    syscall-filter` says; the others are made for containers, and where an argument decides they look at it.
    """
    if names and calls:
        raise click.UsageError("give groups, or --of to look for them, not both")
    known = groups_table.groups()
    problems = [unknown_value("", "a group", name, tuple(known)) for name in names if name not in known]
    problems += [
        unknown_value("--of", "a system call", call, sorted(syscalls.all_names()))
        for call in calls
        if call not in syscalls.all_names()
    ]
    if problems:
        raise BadInput(problems)
    chosen = [known[name] for name in names or known if all(name in holding(call) for call in calls)]
    if as_json:
        data({"arch": arch, "groups": [_as_json(group, arch) for group in chosen]})
    elif names:
        for group in chosen:
            _print_tree(group, arch)
    else:
        _print_table(chosen, arch)


def _calls(group: Group, arch: str | None) -> tuple[Member, ...]:
    """The calls in a group, as the architecture has them, or those of any."""
    if arch is None:
        return expand(group.name)
    here = (on_arch(member, arch) for member in expand(group.name))
    return tuple(member for member in here if member is not None)


def _names(members: Iterable[Member]) -> list[str]:
    return sorted({member.name for member in members})


def _as_json(group: Group, arch: str | None) -> dict[str, Any]:
    return {
        "name": group.name,
        "description": group.description,
        "source": group.source,
        "members": [_member(member) for member in group.members],
        "calls": [_member(member) for member in _calls(group, arch)],
    }


def _member(member: Member) -> dict[str, Any]:
    if not member.conditions:
        return {"name": member.name}
    conditions = [
        {"arg": one.arg, "type": one.type, "allowed": [*one.allowed], "denied": [*one.denied]}
        for one in member.conditions
    ]
    return {"name": member.name, "conditions": conditions}


def _print_table(chosen: Sequence[Group], arch: str | None) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(f"groups: {len(chosen) or 'none'}", style="bold"))
    if not chosen:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("group", no_wrap=True)
    table.add_column("calls", justify="right")
    table.add_column("source", max_width=24)
    table.add_column("what it is for")
    for group in chosen:
        count = len(_names(_calls(group, arch)))
        table.add_row(*map(Text, (group.name, str(count), group.source, group.description)))
    out.print(table)


def _print_tree(group: Group, arch: str | None) -> None:
    from rich.text import Text
    from rich.tree import Tree

    out = console()
    tree = Tree(Text(f"{group.name}  {group.description} ({group.source})", style="bold"))
    _grow(tree, group, arch, {group.name})
    out.print(tree, soft_wrap=False)
    names = _names(_calls(group, arch))
    out.print(Text(f"calls: {len(names)}{f' of {arch}' if arch else ''}", style="bold"))
    if names:
        out.print(Text(" ".join(names)), soft_wrap=False)
    out.print()


def _grow(tree: Tree, group: Group, arch: str | None, shown: set[str]) -> None:
    """Hang a group's members on the tree: groups with theirs, then calls; a group that is there above only by name."""
    from rich.text import Text

    plain = []
    for member in group.members:
        if member.name in groups_table.groups():
            inner = groups_table.groups()[member.name]
            again = inner.name in shown
            branch = tree.add(Text(f"{inner.name}  {'(see above)' if again else inner.description}"))
            if not again:
                shown.add(inner.name)
                _grow(branch, inner, arch, shown)
            continue
        here = member if arch is None else on_arch(member, arch)
        if here is None:
            continue
        if here.conditions:
            tree.add(Text(f"{here.name}: {'; '.join(map(_words, here.conditions))}"))
        else:
            plain.append(here.name)
    if plain:
        tree.add(Text(" ".join(plain)))


def _words(condition: Condition) -> str:
    flags = condition.type == "flags"
    parts = []
    if condition.allowed:
        parts.append(f"{'only flags ' if flags else ''}{(', ' if flags else ' or ').join(condition.allowed)}")
    if condition.denied:
        parts.append(f"{'without' if flags else 'not'} {' and '.join(condition.denied)}")
    return f"argument {condition.arg} {' but '.join(parts)}"
