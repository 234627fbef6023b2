"""`python -m tools.falsealarms`: learn each program's machine, judge other runs of it, print the table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import watched_servers
from benchmarks.learning import Learning, settings_in
from benchmarks.watched import Watch, Watcher, edge_of
from benchmarks.watched_servers import Server
from rig import images, namespace
from rig.cgroup import child_cgroup
from rig.mounts import private_dir
from rig.process import RigError, missing_programs

from . import report, serving, suites
from .experiment import Outcome, Place, Sizes, outcome
from .programs import BUSYBOX, COREUTILS, Program
from .serving import Lives, Served

EVERY = (*COREUTILS, *BUSYBOX, *suites.SUITES)
#: Suites do many things in one machine: more runs of each, in larger batches.
SMALL, LARGE = Sizes(), Sizes(batch=64, least=16, most=48, batches=8)
SHORT = Sizes(batch=10, least=6, most=6, batches=2)
LIVES = Lives()
SEED = 20_261_126


def main(argv: Sequence[str] | None = None) -> int:
    """0: no alarm that was not foretold; 1: not so; 2: it cannot be run here."""
    options = _options(argv)
    reason = namespace.unavailable() or suites.unavailable()
    wanted = options.programs
    chosen = [one for one in EVERY if not wanted or one.key in wanted or one.group in wanted]
    servers = [one for one in watched_servers.EVERY if not wanted or one.key in wanted]
    reason = reason or (servers_unavailable() if servers else None)
    if reason:
        print(f"falsealarms: {reason}", file=sys.stderr)
        return 2
    small, large = (SHORT, SHORT) if options.short else (SMALL, LARGE)
    namespace.enter(fresh_bpffs=True)
    try:
        found = performed(chosen, seed=options.seed, small=small, large=large) if chosen else []
        served = lived(servers, seed=options.seed) if servers else []
    except RigError as error:
        print(f"falsealarms: {error}", file=sys.stderr)
        return 2
    text = "\n".join(report.whole(found, served)) + "\n"
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    return 0 if report.goals(found).met and all(one.foretold for one in served) else 1


def servers_unavailable() -> str | None:
    """Why servers cannot be run under load here, or None."""
    return missing_programs("runc", "wrk", "redis-benchmark") or images.services_unavailable()


def performed(
    chosen: Sequence[Program], *, seed: int, small: Sizes = SMALL, large: Sizes = LARGE, quiet: bool = False
) -> list[Outcome]:
    """The outcome of each program, in order. In a private namespace. Raises RigError."""
    found: list[Outcome] = []
    with private_dir("falsealarms") as base, child_cgroup("falsealarms") as cgroup:
        used = settings_in(base)
        learning, watcher = Learning(used), Watcher(used)
        with learning.kept(), watcher.loaded() as maps:
            for program in chosen:
                began = time.monotonic()
                sizes = large if program in suites.SUITES else small
                place = Place(base, cgroup)
                one = outcome(program, place, learning, watcher, maps, sizes, seed=seed, named=named)
                found.append(one)
                if not quiet:
                    print(f"{report.brief(one)} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def lived(servers: Sequence[Server], *, seed: int, lives: Lives = LIVES) -> list[Served]:
    """The outcomes of each server. In a private namespace. Raises RigError."""
    with private_dir("falsealarms") as base:
        used = settings_in(base)
        learning, watcher = Learning(used), Watcher(used)
        with learning.kept(), watcher.loaded() as maps:
            pairs = [serving.outcomes(one, learning, watcher, maps, lives, seed=seed) for one in servers]
            return [each for pair in pairs for each in pair]


def named(watch: Watch, before: int) -> str:
    """The alerts of one run, in words."""
    return "; ".join(edge_of(alert) for alert in watch.alerts()[-(watch.violations() - before) :])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.falsealarms", description=__doc__)
    parser.add_argument("programs", nargs="*", help="only these programs or groups")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--short", action="store_true", help="few runs: does it work?")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
