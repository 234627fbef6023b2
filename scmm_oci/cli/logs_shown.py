"""How ``scmm logs`` prints: a line for each denial as they come, a table of all, and what would allow them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from scmm_oci.cli.advice_shown import advice_as_json, print_advice
from scmm_oci.cli.filters import Subject
from scmm_oci.cli.logs_words import as_json, moment, outcome, pids, program, stamp, what
from scmm_oci.cli.output import console, data, plain, say, tell
from scmm_oci.enforcer.logs.decode import Denial
from scmm_oci.enforcer.logs.reading import Reading
from scmm_oci.enforcer.logs.sources import audit_enabled
from scmm_oci.enforcer.logs.suggest import Advice, advise
from scmm_oci.enforcer.logs.summary import Summary
from scmm_oci.enforcer.logs.whose import Asked
from scmm_oci.errors import Finding

_ACTIONS_LOGGED = Path("/proc/sys/kernel/seccomp/actions_logged")
_LOGGED = ("kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log")


class Shown:
    """Prints what a reading gives.

    Args:
        this_host: the logs are this host's, whose settings say what they lack.
    """

    def __init__(self, subject: Subject | None, asked: Asked, *, limit: int, as_json: bool, this_host: bool) -> None:
        self._subject, self._asked, self._limit = subject, asked, limit
        self._as_json, self._this_host = as_json, this_host

    def one(self, denial: Denial) -> None:
        """Print one denial, on a line."""
        if self._as_json:
            click.echo(json.dumps(as_json(denial), sort_keys=True))
            return
        process = denial.process
        who = f"{plain(process.comm)}[{plain(process.pid)}]"
        click.echo(f"{moment(denial.at)} {who} {plain(what(denial))}: {outcome(denial)}")

    def end(self, summary: Summary, reading: Reading, *, follow: bool) -> None:
        """Print what all of them were."""
        advice: Sequence[Advice] = ()
        if self._subject is not None and self._subject.policy is not None:
            # What is not shown needs no advice: each takes a filter that is made and run.
            rows = summary.rows[: None if self._as_json else self._limit or None]
            advice = advise([row.example for row in rows], self._subject.policy, given=self._subject.given)
        findings = [*self._settings(), *_losses(reading, self._asked, this_host=self._this_host)]
        if self._as_json:
            self._json(summary, reading, advice, findings, follow=follow)
            return
        self._table(summary)
        if advice and self._subject is not None:
            print_advice(self._subject, advice)
        elif summary.total and self._subject is None:
            say("-p POLICY tells the lines of a policy that would allow these")
        if reading.others:
            say(f"{reading.others} of other processes are not shown")
        tell(findings)

    def _json(
        self, summary: Summary, reading: Reading, advice: Sequence[Advice], findings: Sequence[Finding], *, follow: bool
    ) -> None:
        value: dict[str, Any] = {
            "denials": [
                {
                    **as_json(row.example),
                    "count": row.count,
                    "first": stamp(row.first),
                    "last": stamp(row.last),
                    "pids": sorted(row.pids),
                }
                for row in summary.rows
            ],
            "total": summary.total,
            "others": reading.others,
            "unknown": reading.unknown,
            "malformed": reading.malformed,
            "missing_events": reading.events.missing,
            "not_listed": summary.beyond,
            "notes": [{"code": one.code, "message": one.message, "hint": one.hint} for one in findings],
        }
        for row in value["denials"]:
            for key in ("at", "serial"):
                del row[key]
            row["process"].pop("pid")
        if self._subject is not None:
            value["advice"] = advice_as_json(self._subject, advice)
        if follow:
            click.echo(json.dumps({"summary": value}, sort_keys=True))
        else:
            data(value)

    def _table(self, summary: Summary) -> None:
        from rich.table import Table
        from rich.text import Text

        out = console()
        rows = summary.rows
        out.print(Text(f"refused or logged: {summary.total}" if rows else "refused or logged: none", style="bold"))
        if not rows:
            return
        table = Table(box=None, pad_edge=False)
        for column in ("#times", "what", "outcome", "program", "#uid", "processes", "last"):
            table.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
        for row in rows[: self._limit or None]:
            process = row.example.process
            cells = (
                row.count,
                what(row.example),
                outcome(row.example),
                program(process),
                process.uid,
                pids(row),
                moment(row.last),
            )
            table.add_row(*(Text(plain(cell)) for cell in cells))
        out.print(table)
        if self._limit and len(rows) > self._limit:
            out.print(Text(f"… and {len(rows) - self._limit} more (--limit 0 shows all)"))
        if summary.beyond:
            out.print(Text(f"… and {summary.beyond} of more kinds than are kept"))

    def _settings(self) -> list[Finding]:
        """What the logs cannot have, by this host's settings and by the policy."""
        found: list[Finding] = []
        policy = self._subject.policy if self._subject is not None else None
        if policy is not None and not policy.settings.log_denials:
            message = "the policy has no `log_denials: true`: of what its filter refuses, only what it ends is logged"
            found.append(Finding("not-logged", message))
        if not self._this_host:
            return found
        limits = policy is None or policy.filesystem is not None or policy.network is not None
        if limits and audit_enabled() is False:
            message = "audit is off, and Landlock logs nothing then"
            found.append(Finding("audit-off", message, "auditctl -e 1, or audit=1 on the kernel's command line"))
        try:
            logged = _ACTIONS_LOGGED.read_text().split()
        except OSError:
            return found
        lacks = [word for word in _LOGGED if word not in logged]
        if lacks:
            message = f"the kernel is told not to log {', '.join(lacks)}"
            found.append(Finding("actions-not-logged", message, "sysctl kernel.seccomp.actions_logged"))
        return found


def _losses(reading: Reading, asked: Asked, *, this_host: bool) -> list[Finding]:
    found = []
    lost = reading.lost
    if reading.unknown:
        message = f"{reading.unknown} are of processes that have ended, and nothing says whose they were"
        if not this_host and asked.pids:
            message = f"{reading.unknown} are of other numbers, and a file does not say who started whom"
        hint = "--comm and --exe find by name" + ("; --follow sees them live" if this_host else "")
        found.append(Finding("unknown-processes", message, hint))
    if reading.events.missing or lost.suppressed:
        message = f"{reading.events.missing} audit events between these are not in the log, whoever's they were"
        if lost.suppressed:
            message += f"; the kernel kept {lost.suppressed} messages to itself, as there were too many at once"
        hint = "--follow gets all of them as root; or sysctl kernel.printk_ratelimit=0 for a while, or run auditd"
        hint = hint if this_host else ""
        found.append(Finding("lost", message, hint))
    if lost.given_up:
        message = f"the audit system has given up {lost.given_up} records since the kernel started, for want of room"
        found.append(Finding("given-up", message, "auditctl -b 8192 gives it more room"))
    if lost.before and asked.since < lost.begins:
        message = f"the kernel's log begins at {moment(lost.begins)}; {lost.before} messages before that are gone"
        found.append(Finding("log-begins", message))
    if lost.overrun:
        message = f"records came faster than they could be read, {lost.overrun}×"
        found.append(Finding("overrun", message))
    if reading.forks_overrun:
        message = "processes were started faster than we could be told: some of theirs may be among the unknown ones"
        found.append(Finding("forks-overrun", message))
    if reading.malformed:
        found.append(Finding("malformed", f"{reading.malformed} records are cut or no records, and are left out"))
    return found
