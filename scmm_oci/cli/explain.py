"""``scmm explain``: what would happen to a system call, which rule says so, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from scmm_oci.cli.confine import confine
from scmm_oci.cli.filters import Subject, compiled_filter, read_subject, rule_places
from scmm_oci.cli.options import ARCHES, arch_of
from scmm_oci.cli.output import data, plain, tell
from scmm_oci.compiled.deciders import Decider
from scmm_oci.compiled.disassemble import returned
from scmm_oci.compiled.explain import Explanation, Outcome, of_a_filter, of_a_policy, of_a_profile
from scmm_oci.compiled.filter import passes
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.question import Question, question
from scmm_oci.compiled.rule_words import came_from, decided, verdict
from scmm_oci.errors import BadInput
from scmm_oci.policy.constraints import argument_of
from scmm_oci.tables import arguments
from scmm_oci.tables.floor import floor

_EXAMPLE = """\b
Examples:
  scmm-explain openat -p nginx.scmm.yaml
  scmm-explain socket AF_NETLINK SOCK_RAW - -p nginx.scmm.yaml
  scmm-explain 0x40000038 -p nginx.scmm-pol"""


@click.command(
    epilog=_EXAMPLE,
    # A negative argument of a call is no option.
    context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True},
)
@click.argument("word", metavar="NAME|NR")
@click.argument("args", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
@click.option(
    "-p", "--policy", "path", required=True, metavar="POLICY", help="A policy, a profile (JSON) or a compiled policy."
)
@click.option("--arch", metavar="ARCH", help=f"Whose call it is; by default the policy's own. One of {ARCHES}.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on stdout.")
def explain(*, word: str, args: Sequence[str], path: str, arch: str | None, as_json: bool) -> None:
    """Tell what would happen to a system call.

    ARGS are its arguments in order: numbers as C has them (10, 0x1f, -1), words that the argument has (AF_INET,
    O_RDWR|O_CLOEXEC), or - for one that is not known. What is not given is not known either; then everything that can
    happen is told, each with arguments that lead to it.

    The filter is run to find out. The exit code is 0 whatever becomes of the call, and 2 for bad input.
    """
    chosen = arch_of(arch)
    confine([path])
    subject = read_subject(path)
    asked = question(word, args, chosen or subject.arch)
    tell(subject.findings)
    found = _explanation(subject, asked)
    places = rule_places(subject)
    if as_json:
        data({**_as_json(found, places), "floor": _needs_floor(subject, found)})
        return
    _print(found, places)
    if _needs_floor(subject, found):
        click.echo("  floor    `--oci`, `--docker` and `--podman` profiles allow this all the same: runtimes need it")


def _explanation(subject: Subject, asked: Question) -> Explanation:
    if subject.policy is not None:
        return of_a_policy(subject.policy, asked, given=subject.given)
    if subject.profile is not None:
        return of_a_profile(subject.profile, asked)
    assert subject.compiled is not None
    return of_a_filter(compiled_filter(subject.compiled, asked.arch, place=subject.path).program, asked)


def _print(found: Explanation, places: Sequence[str]) -> None:
    asked = found.question
    name = asked.name or "a number without a name"
    click.echo(f"{name}: number {asked.nr if asked.nr < 1 << 30 else f'{asked.nr:#x}'} of {asked.arch}")
    for outcome in found.outcomes:
        if len(found.outcomes) > 1:
            click.echo(f"for example {plain(_written(asked, outcome))}")
        place = _place(outcome.decider, places)
        click.echo(f"  verdict  {verdict(outcome.value)} ({returned(outcome.value)})")
        click.echo(f"  decided  {f'{place}: ' if place else ''}{plain(decided(outcome.decider))}")
        origin = came_from(outcome.decider)
        if origin:
            click.echo(f"  from     {plain(origin)}")
        if not found.cached:
            looks = ", ".join(map(str, outcome.looks))
            why = f"; it looks at argument {looks}" if looks else ""
            click.echo(f"  cost     {_span(outcome)} instructions each time{why}")
    if found.cached:
        cost = _span(found.outcomes[0])
        click.echo(f"  cost     none: the kernel knows that it is allowed (before Linux 5.11 {cost} instructions)")


def _span(outcome: Outcome) -> str:
    return str(outcome.least) if outcome.least == outcome.most else f"{outcome.least} to {outcome.most}"


def _place(decider: Decider, places: Sequence[str]) -> str:
    return places[decider.index] if decider.index is not None else ""


def _needs_floor(subject: Subject, found: Explanation) -> bool:
    """Whether a profile for runtimes allows what the policy refuses, as runtimes need it."""
    asked, policy, needs = found.question, subject.policy, floor(None, None, None)
    refused = [outcome for outcome in found.outcomes if not passes(outcome.value)]
    if policy is None or not refused or asked.arch is not policy.settings.arch or asked.name not in needs.names:
        return False
    try:
        profile = oci_profile(policy, needs).profile
    except BadInput:
        return False  # there is no such profile
    there = [of_a_profile(profile, replace(asked, args=outcome.args)).outcomes for outcome in refused]
    return any(passes(outcome.value) for outcomes in there for outcome in outcomes)


def _written(asked: Question, outcome: Outcome) -> str:
    """The call with arguments that lead to an outcome: those that are known, and those that the filter looks at."""
    last = max((*outcome.looks, len(asked.args) - 1, -1))
    known = [index < len(asked.args) and asked.args[index] is not None for index in range(6)]
    words = [
        _value(asked, index, outcome.args[index]) if known[index] or index in outcome.looks else "-"
        for index in range(last + 1)
    ]
    return f"{asked.name or asked.nr}({', '.join(words)})"


def _value(asked: Question, index: int, value: int) -> str:
    argument = argument_of(asked.name, index, asked.arch) if asked.name is not None else None
    # Words say nothing of bits beyond those that the kernel takes.
    if argument is not None and not value & ~argument.mask:
        return arguments.describe(argument, value, arch=asked.arch)
    return f"{value:#x}" if value > 9 else str(value)


def _as_json(found: Explanation, places: Sequence[str]) -> dict[str, Any]:
    asked = found.question
    return {
        "call": {"name": asked.name, "nr": asked.nr, "arch": asked.arch, "args": list(asked.args)},
        "cached": found.cached,
        "outcomes": [
            {
                "value": outcome.value,
                "returns": returned(outcome.value),
                "verdict": verdict(outcome.value),
                "source": outcome.decider.source,
                "rule": decided(outcome.decider),
                "place": _place(outcome.decider, places) or None,
                "origin": came_from(outcome.decider),
                "args": list(outcome.args),
                "looks": list(outcome.looks),
                "executed": [outcome.least, outcome.most],
            }
            for outcome in found.outcomes
        ],
    }
