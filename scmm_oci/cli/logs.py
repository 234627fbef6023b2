"""``scmm logs``: what seccomp and Landlock refused to a program or container, and what policy would allow it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from socket import AF_NETLINK

import click

from scmm_oci.cli.confine import confine
from scmm_oci.cli.filters import Subject, read_subject
from scmm_oci.cli.output import say, tell
from scmm_oci.enforcer.logs.reading import Reading
from scmm_oci.enforcer.logs.sources import AUDIT_LOG, KMSG
from scmm_oci.enforcer.logs.summary import Summary
from scmm_oci.enforcer.logs.whose import Asked, boot
from scmm_oci.errors import BadInput, Failure, Problem, short
from scmm_oci.kernel.capabilities import AUDIT_CONTROL, AUDIT_READ, NET_ADMIN, SYSLOG
from scmm_oci.kernel.landlock import READ, READ_FILE

_EXAMPLE = """\b
Examples:
  scmm-logs --pid 4711
  scmm-logs --container web --since 10m -p web.scmm.yaml
  scmm-logs --comm nginx --follow
  scmm-logs --exe /usr/sbin/nginx --file /var/log/audit/audit.log.1 --json"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Where the C library learns of the time zone here (tzset(3)).
_CLOCK = ("/etc/localtime", "/usr/share/zoneinfo")
_SPAN = re.compile(r"(\d{1,9})([smhd])", re.ASCII)


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--pid", "pids", multiple=True, metavar="PID", help="This process, and what it starts. Can be repeated.")
@click.option("--container", metavar="NAME|ID", help="This container, which runs.")
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="Whose container it is; by default, ask both.")
@click.option("--comm", metavar="NAME", help="Threads of this name, which is a program's unless it changes it.")
@click.option("--exe", metavar="PATH", help="Programs with this file, as they see it: of a container, in that.")
@click.option("--all", "everybody", is_flag=True, help="All of this host.")
@click.option(
    "--since",
    metavar="WHEN",
    help="30s, 10m, 2h, 1d ago, or a time such as 2026-05-19T14:00.  [default: since boot; of a file: all]",
)
@click.option("-p", "--policy", metavar="POLICY", help="Tell what lines of this policy would allow what was refused.")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, or until the processes or container end.")
@click.option("--file", metavar="FILE", help="Read an audit.log, or what dmesg printed, instead of this host's logs.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=40, show_default=True, help="Rows of the table; 0: all of them."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout; with --follow a line for each denial.")
def logs(
    *,
    pids: Sequence[str],
    container: str | None,
    engine: str | None,
    comm: str | None,
    exe: str | None,
    everybody: bool,
    since: str | None,
    policy: str | None,
    follow: bool,
    file: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Tell what seccomp and Landlock refused, of one program or container.

    Read are the kernel's log and, where there is one, the audit log. Filters log what they end or what has the action
    `log`; the rest only if the policy has `log_denials: true`. Landlock logs while audit is on.

    Of a process that has ended, only its own number is known: what it had started is found by --comm or --exe, or
    with --follow from its beginning on. The exit code is 0 whatever was refused, 1 if no log can be read, and 2 for
    bad input.
    """
    found: list[Problem] = []
    numbers = tuple(dict.fromkeys(number for word in pids if (number := _pid(word, found))))
    start = _since(since, found)
    wanted = bool(pids) or any(each is not None for each in (container, comm, exe))
    found += _contradictions(wanted, everybody=everybody, container=container, engine=engine, file=file, follow=follow)
    if found:
        raise BadInput(found)
    asked = Asked(numbers, None, comm, exe, start if start is not None else 0 if file is not None else boot())
    asked, until = _with_container(asked, container, engine)  # engines are programs, which are not run any more below
    _confine([each for each in (policy, file) if each is not None], asked, this_host=file is None)
    subject = _policy(policy) if policy is not None else None
    _read(asked, until, subject, file=file, follow=follow, limit=limit, as_json=as_json)


def _confine(reads: Sequence[str], asked: Asked, *, this_host: bool) -> None:
    """Give up all but the logs, and what says whose a process is."""
    also: list[tuple[str | int, int]] = [(place, READ) for place in _CLOCK]
    if this_host:
        # The directories: files in them come and go while they are followed.
        also += [("/proc", READ), (KMSG, READ_FILE), (str(Path(AUDIT_LOG).parent), READ)]
    if asked.container is not None:
        also.append((asked.container.directory, READ))
    if this_host:
        confine(reads, also=also, capable=(AUDIT_CONTROL, AUDIT_READ, NET_ADMIN, SYSLOG), sockets=(AF_NETLINK,))
    else:
        confine(reads, also=also)


def _pid(word: str, found: list[Problem]) -> int | None:
    if word.isascii() and word.isdecimal() and 0 < int(word[:11]) < 2**31:
        return int(word)
    found.append(Problem("--pid", f"{short(word)} is not a process id"))
    return None


def _since(word: str | None, found: list[Problem]) -> int | None:
    """When --since is, in milliseconds since 1970."""
    if word is None:
        return None
    now = time.time()
    span = _SPAN.fullmatch(word)
    if span is not None:
        return int((now - int(span[1]) * _UNITS[span[2]]) * 1000)
    try:
        at = datetime.fromisoformat(word).timestamp()
    except (ValueError, OverflowError):
        hint = "a span such as 30s, 10m, 2h or 1d, or a time such as 2026-05-19T14:00"
        found.append(Problem("--since", f"{short(word)} is no time", hint))
        return None
    if at > now:
        found.append(Problem("--since", f"{short(word)} is yet to come"))
    return int(at * 1000)


def _contradictions(
    wanted: bool, *, everybody: bool, container: str | None, engine: str | None, file: str | None, follow: bool
) -> list[Problem]:
    found = []
    if not wanted and not everybody:
        hint = "--pid, --container, --comm or --exe; --all for all of this host"
        found.append(Problem("", "nothing says whose denials are asked for", hint))
    if wanted and everybody:
        found.append(Problem("--all", "is for all, and other options ask for some only"))
    if engine is not None and container is None:
        found.append(Problem("--engine", "says whose container, and --container is not given"))
    if file is not None and follow:
        found.append(Problem("--follow", "is for this host's logs, not for a file"))
    if file is not None and container is not None:
        found.append(
            Problem("--container", "is found by its processes here, which a file does not have", "use --comm or --exe")
        )
    return found


def _policy(path: str) -> Subject:
    subject = read_subject(path)
    if subject.policy is None:
        hint = "give the policy (.scmm.yaml) that it was made of"
        raise BadInput([Problem(path, "is not a policy that lines could be added to", hint)])
    tell(subject.findings)
    return subject


def _with_container(asked: Asked, name: str | None, engine: str | None) -> tuple[Asked, tuple[int, ...]]:
    """What is asked for with the container's cgroup, and the processes after whose end nothing more can come."""
    if name is None:
        return asked, asked.pids
    from scmm_oci.kernel import cgroup
    from scmm_oci.recorder.engines import Engine, find_container

    container = find_container(name, engine=Engine(engine) if engine is not None else None)
    try:
        place = cgroup.place_of_container(container.pid)
    except cgroup.NoOwnCgroup as error:
        raise Failure(f"the processes of {name!r} cannot be told from others: {error}") from None
    except OSError:
        raise Failure(f"the container {name!r} has ended", "use --comm or --exe") from None
    return Asked(asked.pids, place, asked.comm, asked.exe, asked.since), (container.pid,)


def _read(
    asked: Asked,
    until: Sequence[int],
    subject: Subject | None,
    *,
    file: str | None,
    follow: bool,
    limit: int,
    as_json: bool,
) -> None:
    from scmm_oci.cli.logs_shown import Shown
    from scmm_oci.kernel.signals import Signals

    summary = Summary()
    with Signals((signal.SIGINT, signal.SIGTERM) if follow else ()) as signals:
        with Reading(asked, file=file, follow=follow, until=until) as reading:
            shown = Shown(subject, asked, limit=limit, as_json=as_json, this_host=file is None)
            if not follow and reading.judge.ended and file is None:
                ended = ", ".join(map(str, reading.judge.ended))
                say(f"process {ended} has ended: what it had started is not known (--comm and --exe find by name)")
            for denial in reading.now():
                summary.add(denial)
                if follow:
                    shown.one(denial)
            if follow:
                tell(reading.findings)
                reading.findings.clear()
                if not as_json:
                    say(f"{summary.total} until now; following" + ("" if until else ", until Ctrl-C"))
                for denial in reading.coming(signals.descriptor):
                    summary.add(denial)
                    shown.one(denial)
        signals.read()
        tell(reading.findings)
        shown.end(summary, reading, follow=follow)
