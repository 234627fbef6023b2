"""``scmm graph``: which call may follow which, as a drawing or a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click

from scmm_oci.cli.confine import confine
from scmm_oci.cli.filters import read_subject
from scmm_oci.cli.options import ARCHES, arch_of, check_outputs
from scmm_oci.cli.output import say, tell
from scmm_oci.compiled.graph import Part, Picture, page, picture, svg
from scmm_oci.compiled.machines import machines
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.transitions import never_serving, transitions, watch
from scmm_oci.errors import BadInput, Problem, unknown_value
from scmm_oci.files import atomic_write
from scmm_oci.policy.machine import Machine
from scmm_oci.tables.arch import Arch

_EXAMPLE = """\b
Examples:
  scmm-graph nginx.scmm.yaml -o nginx.svg
  scmm-graph nginx.scmm-pol -o nginx.html
  scmm-graph nginx.scmm.yaml --phase serving > serving.svg"""

_FORMS: dict[str, Callable[[Picture], str]] = {".svg": svg, ".html": page, ".htm": page}


@dataclass(frozen=True)
class _Given:
    """The machines of a policy, by ABI, and what else is told of it."""

    name: str
    action: str | None
    machines: dict[Arch, Machine]


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="POLICY")
@click.option("-o", "--output", metavar="FILE", help="Write it here, as .svg or .html says; else SVG on stdout.")
@click.option("--arch", metavar="ARCH", help=f"The ABI to draw; else the policy's own. One of {ARCHES}.")
@click.option(
    "--phase",
    type=click.Choice([part.value for part in Part]),
    default=Part.BOTH.value,
    show_default=True,
    help="Only this phase.",
)
def graph(*, path: str, output: str | None, arch: str | None, phase: str) -> None:
    """Draw which call may follow which.

    POLICY is a policy (.scmm.yaml) or a compiled one (.scmm-pol) that has transitions. Small machines are drawn as
    boxes and lines, large ones as a square with a row for each state and a column for each call that may follow. The
    page has both, shows what may come before and after a state, and needs no network and nothing beside it.
    """
    chosen = arch_of(arch)
    check_outputs([path], [output])
    form = _form(output)
    confine([path], [output])
    given = _read(path, chosen)
    own = next(iter(given.machines)) if chosen is None else chosen
    drawn = picture(given.machines[own], name=given.name, action=given.action, part=Part(phase))
    text = form(drawn)
    others = [one.value for one in given.machines if one is not own]
    if others:
        say(f"drawn: {own.value}; --arch draws {', '.join(others)}")
    for one in drawn.phases:
        square = "" if one.is_followed else "; too large for lines between states, so as a square"
        say(f"{one.title}: {one.size}{square}")
    if output is None:
        click.echo(text, nl=False)
    else:
        atomic_write(output, text.encode("utf-8"))


def _form(output: str | None) -> Callable[[Picture], str]:
    """What makes the text that a file of this name has. Raises BadInput if that is not told by its ending."""
    if output is None:
        return svg
    for ending, form in _FORMS.items():
        if output.lower().endswith(ending):
            return form
    raise BadInput([unknown_value("-o", "a drawing's name", output, tuple(f"…{ending}" for ending in _FORMS))])


def _read(path: str, arch: Arch | None) -> _Given:
    """The policy's machines, its own ABI's first.

    Raises:
        BadInput: it is no policy, has no transitions, or none for that ABI.
    """
    subject = read_subject(path)
    if subject.profile is not None:
        raise BadInput([Problem(path, "is a seccomp profile: such have no transitions", "give the policy")])
    if subject.compiled is not None:
        file = subject.compiled
        found = {one.arch: one for one in machines(file.transitions, file.watch)}
        kernels = [one.arch for one in file.filters]
        ordered = sorted(found, key=lambda one: (one not in kernels, list(Arch).index(one)))
        action = file.watch.action if file.watch is not None else None
        given = _Given(file.metadata.name or path, action, {one: found[one] for one in ordered})
    else:
        policy = subject.given
        assert policy is not None
        if arch is not None and arch not in policy.settings.architectures:
            policy, findings = retarget(policy, arch)
            tell(findings)
        tell(never_serving(policy))
        found = {one.arch: one for one in machines(transitions(policy), watch(policy))}
        given = _Given(policy.metadata.name or path, policy.watch.value if policy.watch is not None else None, found)
    if not given.machines:
        hint = "record with the order of calls, and make it with `scmm extract --transitions`"
        raise BadInput([Problem(path, "has no transitions, so there is nothing to draw", hint)])
    if arch is not None and arch not in given.machines:
        known = ", ".join(one.value for one in given.machines)
        raise BadInput([Problem("--arch", f"the policy has no transitions for {arch.value}", f"it has: {known}")])
    return given
