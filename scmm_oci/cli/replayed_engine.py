"""``scmm verify --replay --engine``: its options, and the containers that they mean. Called by cli.replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from scmm_oci.cli.collected import tried
from scmm_oci.errors import BadInput, Problem
from scmm_oci.recorder.engines import Engine

if TYPE_CHECKING:
    from scmm_oci.recorder.replay.cells import Runtime
    from scmm_oci.recorder.replay.starter import Opener


@dataclass(frozen=True)
class Asked:
    """What an engine is to start, as it was given; ``args`` stand behind ``--``."""

    engine: Engine
    image: str
    options: tuple[str, ...]
    probe: str | None
    args: tuple[str, ...]


OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option(
        "--engine",
        type=click.Choice([engine.value for engine in Engine]),
        help="The engine that starts containers, instead of a bundle's runtime.",
    ),
    click.option("--image", metavar="IMAGE", help="What it starts; the program's arguments stand behind --."),
    click.option(
        "--engine-option",
        multiple=True,
        metavar="OPTION",
        help="An option of the engine's run and create, such as --engine-option=--network=host.",
    ),
    click.option(
        "--probe",
        metavar="URL|COMMAND",
        help="A service is well if this answers: http://HOST:PORT/, tcp://HOST:PORT, or a command's exit code of 0.",
    ),
)


def asked(given: dict[str, Any], args: Sequence[str]) -> Asked | None:
    """The options of an engine; None if a bundle is to be started. ``given``: by name, as click has them."""
    if given["--engine"] is None:
        stray = [name for name in ("--image", "--engine-option", "--probe") if given[name]]
        if stray:
            raise click.UsageError(f"{', '.join(stray)}: only with --engine.")
        return None
    for name, why in (("--bundle", "an engine makes its own"), ("--measure-floor", "floors are measured with bundles")):
        if given[name]:
            raise click.UsageError(f"{name} and --engine: {why}.")
    if not given["--image"]:
        raise click.UsageError("--engine needs --image.")
    return Asked(Engine(given["--engine"]), given["--image"], given["--engine-option"], given["--probe"], tuple(args))


def prepare(asked: Asked, runtimes: Sequence[str]) -> tuple[Opener, tuple[Runtime, ...]]:
    """What opens a starter of the containers, and the engine's runtimes.

    Raises:
        BadInput: no such engine, image, runtime or probe, or options that cannot be; with all that is wrong.
        Failure: the engine does not answer.
    """
    from scmm_oci.recorder.replay import engine, engine_probe, engine_start

    problems: list[Problem] = []
    word = asked.probe
    tried(lambda: engine.check_options(asked.options), problems)
    probe = tried(lambda: engine_probe.parse(word), problems) if word is not None else None
    if probe is not None:
        tried(lambda: engine_probe.check(probe), problems)
    command = None
    if (client := tried(lambda: engine.find(asked.engine, runtimes), problems)) is not None:
        command = tried(lambda: engine.command_of(client, asked.image, asked.args), problems)
    if problems or client is None or command is None:
        raise BadInput(problems)
    job = engine_start.Job(client, asked.image, asked.args, command, asked.options, probe)
    return engine_start.containers(job), client.runtimes
