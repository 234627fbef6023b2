"""How lines that would allow what was refused are told, with the places of the rules in whose stead they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from scmm_oci.cli.filters import Subject, rule_places
from scmm_oci.cli.output import plain
from scmm_oci.enforcer.logs.suggest import Advice, Line
from scmm_oci.errors import Problem
from scmm_oci.policy.yaml.source import load
from scmm_oci.schema import Found, Steps


def print_advice(subject: Subject, advice: Sequence[Advice]) -> None:
    """Print it for people, on stdout."""
    places = _places(subject, advice)
    click.echo(f"\nwhat would allow them in {plain(subject.path)}:")
    for one in advice:
        click.echo(f"  {plain(one.what)}")
        for line in one.lines:
            old = " and ".join(places[line.section, index] for index in line.replaces)
            click.echo(f"    {line.section}: " + (f"instead of {plain(old)}" if old else "add"))
            click.echo(f"      {plain(line.text)}")
        for note in one.notes:
            click.echo(f"    note: {plain(note)}")


def advice_as_json(subject: Subject, advice: Sequence[Advice]) -> list[dict[str, Any]]:
    """The same as plain values."""
    places = _places(subject, advice)
    return [
        {
            "what": one.what,
            "notes": list(one.notes),
            "lines": [
                {
                    "section": line.section,
                    "text": line.text,
                    "instead_of": [places[line.section, index] for index in line.replaces],
                }
                for line in one.lines
            ],
        }
        for one in advice
    ]


def _places(subject: Subject, advice: Sequence[Advice]) -> dict[tuple[str, int], str]:
    """Section and index of a rule that would be replaced → where it stands."""
    lines: list[Line] = [line for one in advice for line in one.lines if line.replaces]
    found: dict[tuple[str, int], str] = {}
    if not lines:
        return found
    calls = rule_places(subject)
    source = load(subject.data.decode("utf-8"), source=subject.path)
    for line in lines:
        for index in line.replaces:
            if line.section == "syscalls":
                found[line.section, index] = calls[index]
            else:
                steps: Steps = (*line.section.split("."), index)
                (problem,) = source.problems([Found(steps, Problem("", ""))])
                found[line.section, index] = problem.place
    return found
