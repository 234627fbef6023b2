"""What stands around a policy's rules, joined: settings and metadata. Called by policy.merge only."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.merge.entries import Side
from scmm_oci.policy.merge.notes import join_texts
from scmm_oci.policy.model import Action, ArchMap, FilterFlag, Metadata, RunAs, Settings

_T = TypeVar("_T", bound=Hashable)


def settings(given: Sequence[Settings], side: Side, findings: list[Finding]) -> Settings:
    """Everything but the default action, which goes with the rules: policy.merge.calls.default_settings.

    Raises:
        BadInput: they are for different machines, or cannot hold at once.
    """
    found: list[Problem] = []
    arches = sorted({one.arch for one in given})
    if len(arches) > 1:
        message = f"the policies are for {' and '.join(arches)}"
        found.append(Problem(".settings.arch", message, "merge those of one machine"))
    flags = _one({_flags(one) for one in given if one.flags is not None}, ".settings.flags", found)
    listener = _one({one.listener for one in given if one.listener is not None}, ".settings.listener", found)
    run_as = _run_as(given, side, found, findings)
    if found:
        raise BadInput(found)
    sets = [frozenset(one.architectures) for one in given]
    kept = frozenset.union(*sets) if side is Side.LEAST else frozenset.intersection(*sets)
    if len(set(sets)) > 1 and side is Side.LEAST:
        names = ", ".join(sorted(kept - frozenset.intersection(*sets)))
        message = f"not all policies are for {names}; what is allowed is now allowed there too"
        findings.append(Finding("architectures-widened", message, "merge policies for the same architectures"))
    bad = [one.bad_arch_action for one in given]
    arch = given[0].arch
    return replace(
        given[0],
        log_denials=any(one.log_denials for one in given),
        architectures=(arch, *(one for one in arch.beside if one in kept)),
        bad_arch_action=(min if side is Side.LEAST else max)(bad, key=lambda one: list(Action).index(one)),
        flags=flags,
        listener=listener,
        arch_map=_arch_map(given),
        run_as=run_as,
    )


def metadata(given: Sequence[Metadata]) -> Metadata:
    """The names and sources of all, each once; the latest time."""
    return Metadata(
        name=join_texts((one.name for one in given), " + "),
        description=join_texts((one.description for one in given), "\n"),
        generated_from=join_texts((one.generated_from for one in given), ", ") or None,
        target_executable=join_texts((one.target_executable for one in given), ", ") or None,
        generated_at=max((one.generated_at for one in given if one.generated_at), default=None),
    )


def _flags(one: Settings) -> tuple[FilterFlag, ...]:
    return tuple(flag for flag in FilterFlag if flag in (one.flags or ()))


def _one(values: Iterable[_T], place: str, found: list[Problem]) -> _T | None:
    """The only value, None if there is none. Several are a problem."""
    different = sorted(values, key=repr)
    if len(different) > 1:
        found.append(Problem(place, "the policies differ in it", "make it the same in all, or leave it out of some"))
    return different[0] if different else None


def _run_as(given: Sequence[Settings], side: Side, found: list[Problem], findings: list[Finding]) -> RunAs | None:
    if side is Side.MOST:
        return _one({one.run_as for one in given if one.run_as is not None}, ".settings.run_as", found)
    different = {one.run_as for one in given}
    if len(different) > 1:
        findings.append(Finding("run-as-dropped", "the policies run as different users; the union names none"))
        return None
    return given[0].run_as


def _arch_map(given: Sequence[Settings]) -> tuple[ArchMap, ...]:
    lines: dict[str, set[str]] = {}
    for line in (line for one in given for line in one.arch_map):
        lines.setdefault(line.architecture, set()).update(line.sub_architectures)
    return tuple(ArchMap(name, tuple(sorted(below))) for name, below in sorted(lines.items()))
