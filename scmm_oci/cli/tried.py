"""What came of ``scmm try``: whether the policy serves, what it would refuse, what would allow that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import click

from scmm_oci.cli.advice_shown import advice_as_json, print_advice
from scmm_oci.cli.filters import Subject, read_subject
from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.cli.try_runs import PERMISSIVE, Run
from scmm_oci.compiled import polfile
from scmm_oci.compiled.polfile.model import Identity
from scmm_oci.enforcer.logs.suggest import Advice, advise
from scmm_oci.enforcer.reports import Violation, as_call
from scmm_oci.errors import BadInput
from scmm_oci.tables.arch import Arch, from_machine

_DEPENDS = "it depends on the arguments"


@dataclass(frozen=True)
class Tried:
    """The runs of a policy. wanted: how many there were to be; compiled: the policy's bytes."""

    path: str
    compiled: bytes
    runs: Sequence[Run]
    wanted: int
    machine: str

    @cached_property
    def violations(self) -> tuple[Violation, ...]:
        """What the permissive run told."""
        return tuple(one for run in self.runs if run.report is not None for one in run.report.violations)

    @cached_property
    def objections(self) -> list[str]:
        """Why it does not serve, or cannot be said to; nothing if it does."""
        found = []
        for run in self.runs:
            if not run.has_begun:
                found.append(f"the {run.mode} run did not begin: the engine or the launcher ended with {run.status}")
            elif run.report is not None:
                if run.report.violations:
                    found.append(f"{many(len(run.report.violations), 'kind')} of calls would be refused")
                found += [f"not all was watched: {plain(note)}" for note in run.report.notes]
        begun = [run for run in self.runs if run.has_begun]
        if len(self.runs) < self.wanted and len(begun) == len(self.runs):
            found.append("it was stopped")
        elif len({run.end for run in begun}) > 1:
            found.append(f"the runs end differently: {' and '.join(run.end for run in begun)}")
        elif self.wanted == 1 and begun and begun[0].mode != PERMISSIVE and begun[0].status and not begun[0].is_stopped:
            found.append(f"the run ended with {begun[0].end}")
        return found

    @property
    def serves(self) -> bool:
        """Whether all runs were made, ended alike, and nothing would be refused."""
        return len(self.runs) == self.wanted and not self.objections

    @cached_property
    def subject(self) -> Subject | None:
        """The policy as it was written, where it has rules that lines could be added to."""
        try:
            subject = read_subject(self.path)
        except BadInput:
            return None
        return subject if subject.policy is not None else None

    @cached_property
    def advice(self) -> tuple[Advice, ...]:
        """What would allow what would be refused."""
        arch = from_machine(self.machine)
        if self.subject is None or self.subject.policy is None:
            return ()
        calls = [call for one in self.violations if (call := as_call(one, arch)) is not None]
        return tuple(_told(one, arch) for one in advise(calls, self.subject.policy, given=self.subject.given))

    @cached_property
    def unwatched(self) -> list[str]:
        """What of the policy only an enforced run can show."""
        file = polfile.read(self.compiled)
        found = [] if file.ruleset is None else ["files and ports"]
        return [*found, *(["users and capabilities"] if file.identity != Identity() else [])]

    @cached_property
    def unseen(self) -> list[str]:
        """What may be refused all the same: a program shows that by its end, if the policy holds and it is let end."""
        has_shown = any(run.mode != PERMISSIVE and not run.is_stopped for run in self.runs)
        return [] if has_shown else self.unwatched


def _told(advice: Advice, arch: Arch) -> Advice:
    """Of arguments, a report has those of the first call, where the kernel's log has none."""
    ask = f"{_DEPENDS}: of the first call, they are above. The line allows all of them"
    return replace(advice, notes=tuple(ask if note.startswith(_DEPENDS) else note for note in advice.notes))


def show(tried: Tried, *, as_json: bool) -> None:
    """Print it, on stdout."""
    if as_json:
        data(_as_json(tried))
        return
    _table(tried)
    if tried.advice and tried.subject is not None:
        print_advice(tried.subject, tried.advice)
    elif tried.violations:
        say("give the policy (.scmm.yaml) that it was made of, and the lines that would allow these are told")
    click.echo("")
    for run in tried.runs:
        click.echo(f"{run.mode} run: ended with {run.end}")
    if tried.serves:
        click.echo("serves")
        if tried.unseen:
            what = ", ".join(tried.unseen)
            say(f"note: whether it is refused {what}, only a program shows that ends by itself under the policy")
        return
    is_known = tried.violations or all(run.has_begun for run in tried.runs)
    click.echo(f"{'does not serve' if is_known else 'not tried'}: {'; '.join(tried.objections)}")
    differ = len(tried.runs) == 2 and not tried.violations and all(run.has_begun for run in tried.runs)
    if differ and tried.unwatched:
        what = ", ".join(tried.unwatched)
        say(f"of {what}, only the second run shows what is refused: `scmm-record run -- …` records what is used,")
        say(f"and `scmm verify {plain(tried.path)} CAPTURE` tells what of that the policy lacks")
    if not all(run.has_begun for run in tried.runs):
        say("what the engine or the launcher said is above")


def _table(tried: Tried) -> None:
    from rich.table import Table
    from rich.text import Text

    if not tried.violations:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("#times", "would be refused", "answer", "program"):
        table.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
    for one in tried.violations:
        cells = (one.count, one.example or one.name, one.answer, one.program)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console().print(table)


def _as_json(tried: Tried) -> dict[str, Any]:
    runs = [
        {
            "mode": run.mode,
            "exit_status": run.status,
            "stopped": run.is_stopped,
            "begun": run.has_begun,
            "notes": list(run.report.notes) if run.report is not None else [],
            "violations": [
                {
                    "call": one.name,
                    "answer": one.answer,
                    "count": one.count,
                    "example": one.example,
                    "program": one.program,
                }
                for one in (run.report.violations if run.report is not None else ())
            ],
        }
        for run in tried.runs
    ]
    advice = advice_as_json(tried.subject, tried.advice) if tried.subject is not None else []
    return {
        "policy": tried.path,
        "serves": tried.serves,
        "objections": tried.objections,
        "unseen": tried.unseen,
        "runs": runs,
        "advice": advice,
    }
