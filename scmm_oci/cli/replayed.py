"""``scmm verify --replay``: its options, and the order of things. Called by cli.verify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmm_oci.cli import replayed_engine, replayed_shown
from scmm_oci.cli.collected import tried
from scmm_oci.cli.filters import Subject
from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.enforcer import installed
from scmm_oci.errors import BadInput, Failure, Finding, Problem
from scmm_oci.files import atomic_write, check_writable
from scmm_oci.tables.floor import Verb, floor
from scmm_oci.tables.measured import DIRECTORY, Measured, path_of, read, to_json

if TYPE_CHECKING:
    from scmm_oci.oci.seccomp import Profile
    from scmm_oci.recorder.replay.bundle import Config
    from scmm_oci.recorder.replay.cells import Runtime
    from scmm_oci.recorder.replay.starter import Opener

_TIMES, _SECONDS = 20, 10.0
_NNP = {"both": (False, True), "on": (True,), "off": (False,)}
# The parameters of _OPTIONS, but for --replay itself.
_NAMES = (
    *("bundle", "engine", "image", "engine_option", "probe", "runtime", "way", "nnp", "times", "seconds"),
    *("measure_floor", "floor_directory"),
)


@dataclass(frozen=True)
class Asked:
    """The options of a replay, as they were given."""

    bundle: str | None
    engine: replayed_engine.Asked | None
    runtimes: tuple[str, ...]
    verbs: tuple[str, ...]
    nnp: str
    times: int
    seconds: float
    measure: bool
    directory: str


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a replay, put on a command, which has them as one argument, ``asked``; None without --replay."""

    def wrapped(*, replay: bool, **rest: Any) -> None:
        given = {f"--{name.replace('_', '-')}": rest.pop(name) for name in _NAMES}
        stray = ", ".join(name for name, value in given.items() if value not in (None, (), False))
        if not replay and stray:
            raise click.UsageError(f"{stray}: only with --replay.")
        asked = Asked(
            given["--bundle"],
            replayed_engine.asked(given, rest["more"]),
            given["--runtime"],
            given["--way"],
            given["--nnp"] or "both",
            given["--times"] or _TIMES,
            given["--seconds"] or _SECONDS,
            given["--measure-floor"],
            given["--floor-directory"] or DIRECTORY,
        )
        command(asked=asked if replay else None, **rest)

    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    found: Callable[..., None] = wrapped
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option("--replay", is_flag=True, help="Start containers under the profile instead. As root, on this host."),
    click.option("--bundle", metavar="DIR", help="The OCI bundle that is started: config.json and its rootfs."),
    *replayed_engine.OPTIONS,
    click.option(
        "--runtime", multiple=True, metavar="NAME|PATH", help="A runtime to start it with; by default runc and crun."
    ),
    click.option(
        "--way",
        multiple=True,
        type=click.Choice([verb.value for verb in Verb]),
        help="A way to start it; by default all.",
    ),
    click.option("--nnp", type=click.Choice(list(_NNP)), help="No-new-privileges: off, on, or both, the default."),
    click.option("--times", type=click.IntRange(1, 10_000), help=f"How often each way is tried; by default {_TIMES}."),
    click.option(
        "--seconds",
        type=click.FloatRange(0.1, 3600),
        help=f"A program that runs for so long is well, and ended; by default {_SECONDS:g}.",
    ),
    click.option("--measure-floor", is_flag=True, help="Record what the runtimes need themselves, and keep it."),
    click.option("--floor-directory", metavar="DIR", help=f"Where that is kept; by default {DIRECTORY}."),
)


def run(subject: Subject, asked: Asked, *, as_json: bool) -> bool:
    """Replay, print, and say whether the profile serves.

    Raises:
        BadInput: there is no profile, no bundle or no runtime; with all that is wrong with it.
        Failure: containers cannot be started here.
    """
    from scmm_oci.recorder.replay import trial
    from scmm_oci.recorder.replay.cells import Cell

    if asked.bundle is None and asked.engine is None:
        raise click.UsageError("--replay needs --bundle, an OCI bundle to start, or --engine and --image.")
    profile, findings, opener, chosen = _ready(subject, asked)
    if asked.measure:
        for runtime in chosen:
            _check_kept(runtime.digest, asked.directory)
    verbs = [Verb(word) for word in dict.fromkeys(asked.verbs)] or list(Verb)
    cells = tuple(Cell(*one) for one in product(chosen, _NNP[asked.nnp], verbs))
    tell(findings)
    say(f"containers are started as root on this host: {many(len(cells), 'way')}, {many(asked.times, 'time')} each")
    wish = trial.Wish(opener, cells, asked.times, asked.seconds, told=lambda line: say(plain(line)))
    replayed = trial.replay(wish, profile)
    measured: list[Measured] = []
    more: list[Finding] = []
    if asked.measure:
        found, told = trial.measure(wish)
        measured = [_kept(one, asked.directory) for one in found]
        more = [*told, *(finding for one in found for finding in _beyond(one))]
    tell([*replayed.findings, *more])
    if as_json:
        data(replayed_shown.as_json(replayed, measured, [*findings, *replayed.findings, *more]))
    else:
        replayed_shown.print_replay(replayed)
    for one in measured:
        where = path_of(one.digest, directory=asked.directory)
        say(f"what {plain(one.runtime)} {plain(one.version)} needs: {plain(where)}")
    good = sum(one.good for one in replayed.cells)
    # Nothing is known of the profile where there was nothing to hold it against.
    untried = sum(one.expected.end is None for one in replayed.cells)
    so = f"; {untried} could not be tried: there it does not start without a profile either" if untried else ""
    say(f"{plain(subject.path)}: serves in {good} of {len(replayed.cells)} ways{so}")
    return replayed.good


def _ready(subject: Subject, asked: Asked) -> tuple[Profile, list[Finding], Opener, tuple[Runtime, ...]]:
    """All that was given, read. Raises BadInput with what is wrong with any of it."""
    from scmm_oci.recorder.replay import bundle, runtimes, start

    problems: list[Problem] = []
    profile = tried(lambda: _profile(subject), problems)
    opener: Opener | None = None
    chosen: tuple[Runtime, ...] | None = None
    if (engine := asked.engine) is not None:
        prepared = tried(lambda: replayed_engine.prepare(engine, asked.runtimes), problems)
        opener, chosen = prepared if prepared is not None else (None, None)
    elif (directory := asked.bundle) is not None:
        source = tried(lambda: bundle.read(directory), problems)
        opener = start.bundles(source) if source is not None else None
        chosen = tried(lambda: runtimes.find(asked.runtimes), problems)
        if asked.measure:
            problems += _unmeasurable(source.config if source is not None else {}, chosen or ())
    if problems or profile is None or opener is None or chosen is None:
        raise BadInput(problems)
    return *profile, opener, chosen


def _unmeasurable(config: Config, chosen: Sequence[Runtime]) -> list[Problem]:
    """What would make a floor something else than what the runtime needs by itself."""
    found = []
    if (config.get("hooks") or {}).get("startContainer"):
        # It runs them between the filter and the program, and the calls for that would be allowed everywhere.
        what = "what the runtime does for hooks at startContainer is no need of other containers"
        found.append(Problem("--measure-floor", what, "measure with a bundle that has none"))
    for runtime in chosen:
        if installed.is_starter(runtime.path):
            what = f"{runtime.path} is scmm-runc, and its digest does not tell the runtime below"
            found.append(Problem("--measure-floor", what, "--runtime names that one"))
    return found


def _profile(subject: Subject) -> tuple[Profile, list[Finding]]:
    """The profile, or what `scmm compile --oci` makes of the policy. Raises BadInput if it cannot be replayed."""
    from scmm_oci.recorder.replay import trial

    if subject.profile is not None:
        try:
            trial.check(subject.profile)
        except BadInput as error:
            raise BadInput(error.problems, source=error.source or subject.path) from error
        return subject.profile, []
    if subject.policy is None:
        hint = "give the policy that it was made of, or a profile"
        raise BadInput([Problem(subject.path, "is a compiled policy: runtimes do not load these", hint)])
    from scmm_oci.compiled import needed
    from scmm_oci.compiled.profiles import oci_profile

    try:
        needed.check(subject.policy)
        compiled = oci_profile(subject.policy, floor(None, None, False))
        trial.check(compiled.profile)
    except BadInput as error:
        raise BadInput(error.problems, source=error.source or subject.path) from error
    return compiled.profile, [*subject.findings, *compiled.findings]


def _check_kept(digest: str, directory: str) -> None:
    """Find out before the work whether what is measured can be kept.

    Raises:
        BadInput: what was measured before cannot be read.
        Failure: nothing can be written there.
    """
    try:
        Path(directory).mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{directory} cannot be made: {error.strerror}") from None
    read(digest, directory=directory)
    check_writable(path_of(digest, directory=directory))


def _kept(measured: Measured, directory: str) -> Measured:
    """Write what was measured, joined with what was there."""
    before = read(measured.digest, directory=directory)
    joined = measured if before is None else measured.joined(before)
    atomic_write(path_of(measured.digest, directory=directory), to_json(joined))
    return joined


def _beyond(measured: Measured) -> list[Finding]:
    """What was measured and our table lacks."""
    found = []
    for row in measured.rows:
        table = floor(measured.runtime, measured.version, row.no_new_privileges, verbs=frozenset({row.verb}))
        beyond = sorted(row.names - table.names)
        if beyond:
            where = f"{measured.runtime} {row.verb} nnp={int(row.no_new_privileges)}"
            found.append(Finding("beyond-floor", f"{where} calls what our table lacks: {', '.join(beyond)}"))
    return found
