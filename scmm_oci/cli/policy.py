"""``scmm policy``: the policies that containers can ask scmm-runc for by name: add, list, remove."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from scmm_oci.cli import kinds
from scmm_oci.cli.confine import confine
from scmm_oci.cli.kinds import Kind
from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.cli.place_options import place_option
from scmm_oci.compiled import polfile
from scmm_oci.enforcer import admits, mounting, private
from scmm_oci.enforcer import store as policies
from scmm_oci.enforcer.store import BadStore, Store
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import read_bounded
from scmm_oci.kernel import landlock
from scmm_oci.kernel.landlock import READ, REPLACE
from scmm_oci.oci.annotations import MODES
from scmm_oci.recorder import installation

_EXAMPLE = """\b
Example:
  scmm compile -i nginx.scmm.yaml -o nginx.scmm-pol
  scmm policy add web nginx.scmm-pol
  podman --runtime scmm run --annotation scmm.policy=web nginx"""

_HELP = {"help_option_names": ["-h", "--help"]}
_PATH = click.Path(path_type=Path)


def _places(command: click.decorators.FC) -> click.decorators.FC:
    """``--store`` and ``--config``."""
    options: tuple[Callable[[click.decorators.FC], click.decorators.FC], ...] = (
        click.option("--store", metavar="DIR", type=_PATH, help="Another store than the one that scmm-runc reads."),
        place_option("--config", installation.CONFIG, "The settings, whose shim.policy_dir is the store."),
    )
    for option in options:
        command = option(command)
    return command


@click.group(epilog=_EXAMPLE, context_settings=_HELP)
def policy() -> None:
    """Keep the compiled policies that containers can ask scmm-runc for by name: add, list, remove."""


@policy.command(epilog=_EXAMPLE, context_settings=_HELP)
@click.argument("name")
@click.argument("compiled", metavar="FILE", type=click.Path())
@click.option("--replace", is_flag=True, help="Take the place of another policy of that name.")
@_places
def add(*, name: str, compiled: str, replace: bool, store: Path | None, config: Path) -> None:
    """Put the compiled policy FILE (.scmm-pol) into the store as NAME, and print NAME@sha256:DIGEST.

    Containers that run keep the policy that they were started with.
    """
    directory = _directory(store, config)
    with _told():
        found = policies.name_problems(name)
        if found:
            raise BadStore(found)
        # It is made before the right to make directories is given up.
        try:
            os.close(private.open_directory(directory, make=True))
        except OSError as error:
            raise BadStore([f"the policy store cannot be used: {error.strerror}"]) from None
    confine([compiled], also=[(directory, READ | REPLACE)])
    text = read_bounded(compiled, policies.MAX_BYTES)
    if not polfile.is_compiled(text):
        found_kind = kinds.kind_of(text)
        what = f"is {found_kind}, not {Kind.COMPILED}" if found_kind else f"is not {Kind.COMPILED}"
        raise BadInput([Problem(compiled, what, f"`scmm compile -i POLICY -o {name}{policies.SUFFIX}` makes one")])
    read = polfile.read(text, source=compiled)
    ruleset, here = read.ruleset, landlock.abi()
    with _told():
        digest = Store(directory).add(name, text, replace=replace)
    click.echo(f"{name}@sha256:{digest}")
    if ruleset is not None and ruleset.abi > here:
        # The launcher tells it too, but a container's output is the program's own: scmm-runc keeps it quiet.
        has = f"has Landlock's ABI {here}" if here else "has no Landlock"
        say(f"note: this kernel {has}, and the policy has rights of ABI {ruleset.abi}: those are not held here")
        say(f"  `scmm enforce -p {plain(compiled)} --check` tells which; with scmm.mode=strict no container starts")
    if mounts := mounting.allowed(read, landlock=here > 0):
        why = "it has no rules for files, which would refuse them" if here else "without Landlock, files are not held"
        say(f"note: programs under this policy may call {', '.join(mounts)}: {why}")
        say("  with CAP_SYS_ADMIN, or in user namespaces, they can put a launcher of theirs where exec finds it")
    if admits.asks(text, MODES[0], os.uname().machine):
        say("note: the policy asks about calls, so its containers start only where scmm-monitor listens")
        say("  start it, and see by `scmm doctor` that scmm-runc finds it; podman has to have --runtime scmm")


@policy.command("list", context_settings=_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@_places
def list_(*, store: Path | None, config: Path, as_json: bool) -> int:
    """Tell which policies there are, and their digests. Exits with 1 if one of them cannot be used."""
    directory = _directory(store, config)
    confine([], also=[(directory, READ)])
    at = Store(directory)
    rows = []
    with _told():
        names, strangers = at.names(), at.strangers()
    for name in names:
        try:
            text = at.read(name)
            rows.append({"name": name, "digest": f"sha256:{private.sha256(text)}", "size": len(text), "problems": []})
        except BadStore as error:
            rows.append({"name": name, "digest": None, "size": None, "problems": error.problems})
    if as_json:
        data({"store": directory, "policies": rows, "strangers": strangers})
    else:
        _show(rows, directory)
        for stranger in strangers:
            say(f"note: {plain(Path(directory, stranger))} is no policy by its name, and is not used")
    return 1 if any(row["problems"] for row in rows) else 0


@policy.command(context_settings=_HELP)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_places
def remove(*, names: tuple[str, ...], store: Path | None, config: Path) -> None:
    """Take policies out of the store. Containers that run under them keep them; new ones do not start."""
    directory = _directory(store, config)
    at = Store(directory)
    found: list[str] = []
    for name in dict.fromkeys(names):
        try:
            at.remove(name)
            say(f"removed {plain(name)}")
        except BadStore as error:
            found += error.problems
    if found:
        raise BadInput([Problem("", each) for each in dict.fromkeys(found)])


def _directory(store: Path | None, config: Path) -> str:
    """The store's absolute path; of its last component, a link is told and not followed."""
    if store is not None:
        return str(store.absolute())
    document = installation.configured_shim(config)
    found = document.get("policy_dir", policies.DIRECTORY) if isinstance(document, dict) else policies.DIRECTORY
    if not isinstance(found, str):
        raise BadInput([Problem(f"{config}: .shim.policy_dir", "a path expected")])
    return found


def _show(rows: list[dict[str, object]], directory: str) -> None:
    if not rows:
        say(f"there are no policies in {plain(directory)}: `scmm policy add` puts one there")
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("policy", "bytes", "digest"):
        table.add_column(title, overflow="fold", justify="right" if title == "bytes" else "left")
    for row in rows:
        problems = row["problems"]
        told = "; ".join(map(plain, problems)) if isinstance(problems, list) and problems else plain(row["digest"])
        table.add_row(plain(row["name"]), plain(row["size"]), told)
    console().print(table)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the store says, as an error with all of its problems."""
    try:
        yield
    except BadStore as error:
        raise BadInput([Problem("", each) for each in error.problems]) from error
