"""`python -m tools.conformance`: run the cases, print what differs, and write the table with --write."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rig import namespace
from rig.mounts import private_dir
from rig.process import RigError

from . import agent, kept, suite, table, ways
from .cases import Case, Outcome
from .comparing import Comparison
from .layout import described
from .ways import Way

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/conformance.md"
KEPT = ROOT / "out/conformance.json"


def main(argv: Sequence[str] | None = None) -> int:
    """0: all that passes under runc passes under the shim, or is explained; 1: not so; 2: it cannot be run here."""
    options = _options(argv)
    if options.again:
        run = kept.loads(KEPT.read_text())
        _write(run)
        return _judged(run, ())
    reason = namespace.unavailable() or suite.unavailable()
    if reason:
        print(f"conformance: {reason}", file=sys.stderr)
        return 2
    namespace.enter()
    cgroups = described()
    with private_dir("conformance") as base:
        base.chmod(0o711)
        for each in ("shim", "scratch"):
            (base / each).mkdir(mode=0o711)
        try:
            cases = suite.fetch()
            if options.agent:
                return _agent(cases, base, verbose=options.verbose)
            compared = Comparison(
                cases,
                _files(cases, options),
                ways.install(base / "shim"),
                base / "scratch",
            )
        except RigError as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 2

        def told(way: Way, found: Sequence[Case], seconds: float) -> None:
            print(f"{way}: {_counted(found)} in {seconds:.0f} s", flush=True)
            for case in found if options.verbose else ():
                if case.outcome is Outcome.FAILED:
                    print(f"{case.key}:\n{case.detail}\n", flush=True)

        try:
            compared.run([way for way in Way if way is Way.RUNC or not options.way or way in options.way], told)
        except RigError as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 2
        run = _run(compared, cgroups)
        if options.write:
            KEPT.parent.mkdir(parents=True, exist_ok=True)
            KEPT.write_text(kept.dumps(run))
            _write(run)
        for each in compared.unsteady:
            print(f"only at another try: {each}")
        return _judged(run, [f"left over: {each}" for each in compared.installed.left_over()])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.conformance", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}; takes all ways")
    parser.add_argument("--again", action="store_true", help="make the table again of the last run with --write")
    parser.add_argument("--only", action="append", metavar="FILE", help="cases of this file, such as exec; repeatable")
    parser.add_argument("--way", action="append", type=Way, choices=list(Way), help="only this way; repeatable")
    parser.add_argument("--agent", action="store_true", help="the cases of seccomp agents, with scmm-monitor as one")
    parser.add_argument("--verbose", action="store_true", help="what cases printed that fail")
    options = parser.parse_args(argv)
    if options.write and (options.only or options.way):
        parser.error("--write takes all cases and all ways")
    if options.agent and (options.write or options.only or options.way):
        parser.error("--agent is a way of its own")
    return options


def _agent(cases: suite.Suite, base: Path, *, verbose: bool) -> int:
    """The cases with upstream's agent, then with scmm-monitor; 1 if any passes with the first alone."""
    (base / "agent").mkdir(mode=0o711)
    ours = agent.Agent(cases, base / "agent")
    results = {}
    for name, each in (("seccompagent", cases), ("scmm-monitor", ours.suite)):
        results[name] = agent.run(each, base / f"scratch-{name}")
        print(f"{name}: {_counted(results[name])}", flush=True)
    found = agent.differing(*results.values())
    for case in found:
        print(f"{case.key}\n{case.detail}\n{ours.told()}\n" if verbose else case.key)
    if not ours.starts:
        print("scmm-monitor was never started")
    return 1 if found or not ours.starts else 0


def _files(cases: suite.Suite, options: argparse.Namespace) -> list[Path]:
    """The files that are asked for. Raises RigError where there is one that is not there."""
    there = {each.stem: each for each in cases.files}
    named = options.only or list(there)
    missing = [name for name in named if name not in there]
    if missing:
        raise RigError(f"no such cases: {', '.join(missing)}; there are {', '.join(there)}")
    return [path for name, path in there.items() if name in named]


def _run(compared: Comparison, cgroups: str) -> kept.Run:
    kernel = ".".join(os.uname().release.split("-")[0].split(".")[:2])
    about = f"Cases of runc {compared.suite.version}, on Linux {kernel}, {cgroups}."
    return kept.Run(about, compared.results, compared.evidence)


def _write(run: kept.Run) -> None:
    text = table.render(run.results, run.evidence, about=run.about)
    PAGE.write_text(table.replaced(PAGE.read_text(), text))


def _judged(run: kept.Run, also: Iterable[str]) -> int:
    """Print what differs and what else is wrong; 1 if any of it is not explained."""
    found = table.differences(run.results)
    for each in found:
        print(f"{each.way}: {each.case.key}: {each.why or 'NOT EXPLAINED'}")
    wrong = [*(f"explained, but passes: {each}" for each in table.stale(run.results)), *also]
    for line in wrong:
        print(line)
    return 1 if wrong or any(each.why is None for each in found) else 0


def _counted(cases: Sequence[Case]) -> str:
    return ", ".join(f"{sum(1 for case in cases if case.outcome is kind)} {kind}" for kind in Outcome)


if __name__ == "__main__":
    sys.exit(main())
