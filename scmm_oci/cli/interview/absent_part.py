"""The part about files that are not there when the program starts: looked for in vain, or made by it."""

from __future__ import annotations

from scmm_oci.cli.interview.questions import Asking, Kind, Option, Part, Question
from scmm_oci.cli.interview.world import World
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import CreatedFiles
from scmm_oci.policy.model import OnMissing
from scmm_oci.policy.paths.proposals import counted

_SHOWN = 8

_MISSING = {
    OnMissing.SKIP: "leave them out",
    OnMissing.PRECREATE: "make them, empty, before the program starts",
    OnMissing.PARENTDIR: "grant the directory that they would be in",
}
_CREATED = {
    CreatedFiles.AUTO: "make those with a fixed name before the start, grant the directory for the rest",
    CreatedFiles.PRECREATE: "make all of them before the start, where that can be",
    CreatedFiles.PARENTDIR: "grant their directories",
    CreatedFiles.SKIP: "leave them as they are: granted if they are there",
}


def absent_part(world: World, choices: Choices) -> Asking:
    """What becomes of files that were looked for and missing, and of those that the program made."""
    if not choices.decisions.files:
        return choices
    missing = world.missing()
    if missing:
        answer = yield Question(
            id=f"{Part.ABSENT}/missing",
            title=f"{counted(len(missing), 'path was', 'paths were')} looked for and not there. What becomes of them?",
            kind=Kind.ONE,
            options=tuple(Option(one, text) for one, text in _MISSING.items()),
            lines=_list(missing),
            default=choices.decisions.missing_files,
            help="A rule is opened when the program starts: for a file that is not there yet there can be none.",
        )
        choices = choices.changed(missing_files=OnMissing(str(answer)))
    seen = world.seen(choices)
    made = world.once(("made", id(seen)), lambda: tuple(need.path for need in seen.needs if need.created))
    if made:
        answer = yield Question(
            id=f"{Part.ABSENT}/created",
            title=f"{counted(len(made), 'path was', 'paths were')} made by the program. What if no pattern holds one?",
            kind=Kind.ONE,
            options=tuple(Option(one, text) for one, text in _CREATED.items()),
            lines=_list(made),
            default=choices.decisions.created_files,
            help="Directories are granted with everything beneath them; protected ones only with --accept.",
        )
        choices = choices.changed(created_files=CreatedFiles(str(answer)))
    return choices


def _list(paths: tuple[str, ...]) -> tuple[str, ...]:
    more = len(paths) - _SHOWN
    return (*paths[:_SHOWN], f"… and {more} more") if more > 0 else paths
