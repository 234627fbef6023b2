"""``scmm extract``: captures → policy and seccomp profile, as flags or an interview decide, or statistics of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from scmm_oci.capture.model import Capture
from scmm_oci.cli import floors
from scmm_oci.cli.confine import confine
from scmm_oci.cli.decided import choices_of, command_line, flags_of
from scmm_oci.cli.decision_options import decision_options
from scmm_oci.cli.made import in_short, made, patterns_in_short
from scmm_oci.cli.options import check_outputs
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.cli.recordings import read_captures
from scmm_oci.cli.sections import Command, option
from scmm_oci.collection import uncollected
from scmm_oci.compiled.profiles import Compiled, oci_profile
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.files import atomic_write_all, read_bounded
from scmm_oci.policy import document
from scmm_oci.policy.choices import Choices, narrowed, unused
from scmm_oci.policy.explain import comments
from scmm_oci.policy.infer import Inference, infer, runtime_names, see
from scmm_oci.policy.infer.silence import silence
from scmm_oci.policy.render import dump, to_document
from scmm_oci.tables.floor import Floor

_EXAMPLE = """\b
Examples:
  scmm-extract -i nginx.scmm-cap -o nginx.scmm.yaml --oci seccomp.json
  podman run --security-opt seccomp=seccomp.json …

\b
  scmm-extract -i monday.scmm-cap -i tuesday.scmm-cap -o web.scmm.yaml \\
    --category network=review --allow socket --accept '/etc/ssl/certs/*' --non-interactive

\b
  scmm-extract -i nginx.scmm-cap --stats-only"""

_FILES, _HOW = "Input and output", "How it runs"


@dataclass(frozen=True)
class _Run:
    """What the command line says beside the choices."""

    inputs: tuple[str, ...]
    output: str | None
    oci: str | None
    update: str | None
    runtime: str | None
    no_new_privileges: bool
    measured: str | None
    session: str
    resume: bool


@click.command(cls=Command, epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@option(
    "-i",
    "--input",
    "inputs",
    section=_FILES,
    multiple=True,
    required=True,
    metavar="CAPTURE",
    help="A capture, or a set of them; may be repeated.",
)
@option("-o", "--output", section=_FILES, metavar="FILE", help="Write the policy here (.scmm.yaml).")
@option(
    "--update",
    section=_FILES,
    metavar="POLICY",
    help="Keep the comments and the order of this policy; without --output it is written there.",
)
@option(
    "--oci", section=_FILES, metavar="FILE", help="Write the seccomp profile for podman, Docker and OCI runtimes here."
)
@option("--stats-only", section=_FILES, is_flag=True, help="Print what the captures hold, and write nothing.")
@option("--json", "as_json", section=_FILES, is_flag=True, help="Print the result as JSON on stdout; ask nothing.")
@option(
    "--non-interactive",
    section=_HOW,
    is_flag=True,
    help="Ask nothing, as where stdin or stderr is no terminal. Else an interview asks about what the flags below "
    "say, and begins with that.",
)
@option("--resume", section=_HOW, is_flag=True, help="Go on with an interview that was stopped.")
@option(
    "--session",
    section=_HOW,
    metavar="FILE",
    help="Where the interview keeps its answers; by default the output's name and .interview.",
)
@floors.floor_options
@decision_options
def extract(**values: Any) -> None:
    """Make a policy, and a seccomp profile that starts and runs the container, from captures.

    The policy allows what the program and everything it started were seen to do; several captures add up, and what
    varied between them is generalised. The profile also allows what the container runtime itself needs.
    """
    run = _run_of(values)
    choices = choices_of(values)
    interactive = _is_interactive(values)
    if run.resume and not interactive:
        raise click.UsageError("--resume goes on with an interview, which needs a terminal.")
    if interactive:
        # Its libraries load others of the system.
        from scmm_oci.cli.interview import terminal  # noqa: F401
    reads = [*run.inputs, *filter(None, [run.update]), *([run.session] if run.resume else [])]
    writes = [] if values["stats_only"] else [run.output, run.oci, *([run.session] if interactive else [])]
    confine(reads, writes, also=floors.reads(run.measured))
    with uncollected():
        _extract(run, choices, values, interactive=interactive)


def _extract(run: _Run, choices: Choices, values: Mapping[str, Any], *, interactive: bool) -> None:
    captures = read_captures(run.inputs)
    if values["stats_only"]:
        from scmm_oci.cli.stats import print_stats

        print_stats(captures, choices.decisions, as_json=values["as_json"])
        return
    before = None if run.update is None else read_bounded(run.update, document.MAX_BYTES)
    if before is not None:
        document.parse(before, source=run.update or "")  # before anything is asked
    needs, about_profile = _floor(captures, run)
    findings: list[Finding] = []
    if interactive:
        choices = _interview(captures, choices, needs, run)
    elif os.path.lexists(run.session):
        text = f"an interview about this policy was stopped; it is kept in {run.session}"
        findings.append(Finding("interview", text, "--resume goes on with it, on a terminal"))
    seen = see(captures, choices.decisions)
    inferred = infer(captures, choices.decisions, needed=needs.names, seen=narrowed(seen, choices))
    compiled = oci_profile(inferred.policy, needs)
    policy = _policy(inferred, before, run)
    written = [(run.output, policy), (run.oci, compiled.json)]
    atomic_write_all([(path, content) for path, content in written if path])
    told = [*unused(seen, choices), *inferred.findings]
    if run.output is not None:  # in a profile the runtime's own needs let programs write
        told += silence(inferred, choices.decisions)
    findings += [*about_profile, *told, *compiled.findings] if run.oci else told
    _report(inferred, compiled, needs, findings, choices, run, as_json=values["as_json"])
    if interactive:
        from scmm_oci.cli.interview import session

        session.forget(run.session)
        say(f"the same without questions:\n  {command_line([*_words(run), *flags_of(choices), '--non-interactive'])}")


def _run_of(values: Mapping[str, Any]) -> _Run:
    output = values["output"] if values["output"] is not None else values["update"]
    if not values["stats_only"] and output is None and values["oci"] is None:
        raise click.UsageError("Nothing to do: give --output, --oci or --stats-only.")
    given = values["session"]
    session = given if given is not None else f"{output if output is not None else values['oci']}.interview"
    check_outputs(values["inputs"], [output, values["oci"], session])
    return _Run(
        inputs=values["inputs"],
        output=output,
        oci=values["oci"],
        update=values["update"],
        runtime=values["runtime"],
        no_new_privileges=values["no_new_privileges"],
        measured=values["measured_floor"],
        session=session,
        resume=values["resume"],
    )


def _is_interactive(values: Mapping[str, Any]) -> bool:
    if values["non_interactive"] or values["as_json"] or values["stats_only"]:
        return False
    streams = (sys.stdin, sys.stderr)
    return all(one is not None and one.isatty() for one in streams) and os.environ.get("TERM", "dumb") != "dumb"


def _words(run: _Run) -> list[str]:
    """The command line, but for the choices and what is about the interview."""
    words = ["scmm", "extract", *(f"--input={one}" for one in run.inputs)]
    words += [f"--update={run.update}"] if run.update is not None else []
    words += [f"--output={run.output}"] if run.output is not None and run.output != run.update else []
    words += [f"--oci={run.oci}"] if run.oci is not None else []
    words += [f"--runtime={run.runtime}"] if run.runtime is not None else []
    words += ["--no-new-privileges"] if run.no_new_privileges else []
    return [*words, *([f"--measured-floor={run.measured}"] if run.measured is not None else [])]


def _interview(captures: Sequence[Capture], choices: Choices, needs: Floor, run: _Run) -> Choices:
    """Ask. Raises click's Exit where nothing is to be written."""
    from scmm_oci.cli.interview import session
    from scmm_oci.cli.interview.conversation import Conversation, Outcome
    from scmm_oci.cli.interview.course import Event
    from scmm_oci.cli.interview.terminal import talk
    from scmm_oci.cli.interview.world import World

    digest = session.digest(captures)
    events: tuple[Event, ...] = ()
    if run.resume:
        kept = session.read(run.session, digest)
        if choices not in (Choices(), kept.initial):
            hint = "leave the flags out, or begin anew"
            raise BadInput([Problem("", "began with other choices than these flags make", hint)], source=run.session)
        choices, events = kept.initial, kept.events
    elif os.path.lexists(run.session):
        hint = "--resume goes on with it; remove the file to begin anew"
        raise BadInput([Problem("", "holds an interview that was stopped", hint)], source=run.session)

    def keep(done: tuple[Event, ...]) -> None:
        session.write(run.session, session.Kept(choices, done, digest))

    world = World(captures, needs.names)
    world.seen(choices)  # what is wrong with captures is told before anything is asked
    conversation = Conversation(world, choices, events=events, keep=keep)
    outcome = talk(conversation)
    if outcome is Outcome.WRITE:
        return conversation.choices
    if outcome is Outcome.QUIT:
        session.forget(run.session)
        say("nothing is written, and the answers are forgotten")
        raise click.exceptions.Exit(1)
    if outcome is Outcome.LATER:
        keep(conversation.events)
    say(f"stopped at: {conversation.where()}; nothing is written")
    if conversation.events or outcome is Outcome.LATER:
        again = [*_words(run), *([] if _usual_session(run) else [f"--session={run.session}"]), "--resume"]
        say(f"the answers are kept in {plain(run.session)}; to go on:\n  {command_line(again)}")
    raise click.exceptions.Exit(130 if outcome is Outcome.STOPPED else 1)


def _usual_session(run: _Run) -> bool:
    return run.session == f"{run.output if run.output is not None else run.oci}.interview"


def _policy(inferred: Inference, before: bytes | None, run: _Run) -> bytes:
    policy = inferred.policy
    if before is None:
        above = {} if inferred.machine is None else inferred.machine.comments()
        return dump(policy, comments={**comments(policy), **above})
    from scmm_oci.policy.yaml import edit

    return edit.update(before, to_document(policy), source=run.update or "")


def _floor(captures: Sequence[Capture], run: _Run) -> tuple[Floor, list[Finding]]:
    """What the runtime needs, from the table or what was measured, and from these recordings of it."""
    recorded = {(capture.runtime.name, capture.runtime.version) for capture in captures}
    names = {one for one, _ in recorded}
    findings = []
    wanted = None if run.runtime == "all" else run.runtime
    version = None
    if run.runtime is None and len(names) == 1:
        wanted = next(iter(names))
        version = next(iter(recorded))[1] if len(recorded) == 1 else None
    if run.runtime is None and wanted is None:
        message = "it is not known which one runtime was recorded: the profile covers all that we know"
        findings.append(Finding("runtimes", message, "--runtime names the one to use"))
    base = floors.needs(wanted, version, run.no_new_privileges, directory=run.measured)
    # A recording without no-new-privileges saw the runtime call more than it needs with it.
    fits = not run.no_new_privileges or all(capture.container.no_new_privileges for capture in captures)
    alike = wanted is None or names == {wanted}
    if not (alike and fits):
        return base, findings
    more = runtime_names(captures)
    return base.with_recorded(more), [*findings, *floors.beyond(more, base)]


def _report(
    inferred: Inference,
    compiled: Compiled,
    needs: Floor,
    findings: Sequence[Finding],
    choices: Choices,
    run: _Run,
    *,
    as_json: bool,
) -> None:
    found = made(inferred, choices)
    told = list(dict.fromkeys(findings))
    if as_json:
        data(
            {
                "name": inferred.policy.metadata.name,
                "policy": run.output,
                "profile": run.oci,
                "program": compiled.program,
                "floor": compiled.floor,
                "floor_entries": list(needs.entries_used),
                "architectures": list(inferred.policy.settings.architectures),
                "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in told],
                "flags": flags_of(choices),
                **found,
            }
        )
    written = " and ".join(plain(path) for path in (run.output, run.oci) if path)
    more = f", {compiled.floor} more for the runtime" if run.oci else ""
    say(f"{written}: {compiled.program} calls for the program{more}")
    for line in (*in_short(found), *patterns_in_short(found)):
        say(line)
    tell(told)
