"""A command line of an engine that runs a container (`docker run …`, `podman run …`), and the same with more options.

Read as the engine reads it (pflag, options end at the image), from exact tables (recorder.engine_options): what is in
none of them is an error, as nobody could tell then where the options end. Pure, but for variables that `--env NAME`
takes from the environment. Called by cli.record_run and cli.try_policy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.errors import BadInput, Problem, did_you_mean, short
from scmm_oci.recorder import engine_options
from scmm_oci.recorder.engine_options import Options
from scmm_oci.recorder.engines import Engine

PLACE = "command"
_GLOBAL = {Engine.DOCKER: Options(engine_options.DOCKER_GLOBAL), Engine.PODMAN: Options(engine_options.PODMAN_GLOBAL)}
_RUN = {
    Engine.DOCKER: Options(engine_options.DOCKER_RUN),
    Engine.PODMAN: Options(engine_options.PODMAN_RUN, engine_options.PODMAN_GLOBAL),
}
_GLOBAL_ONLY = {
    Engine.DOCKER: frozenset[str](),
    Engine.PODMAN: _GLOBAL[Engine.PODMAN].names.keys() - Options(engine_options.PODMAN_RUN).names.keys(),
}
_FALSE = ("0", "f", "F", "false", "FALSE", "False")  # strconv.ParseBool
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_EXAMPLE = "such as `podman run --rm IMAGE` or `docker run --rm IMAGE`"
_OTHERS = {"sudo": "leave it out: the engine is run as who runs this", "nerdctl": "known: docker, podman"}


@dataclass(frozen=True)
class Option:
    """An option that was given: its first long name, and its value ("true" or "false" for a switch)."""

    name: str
    value: str


@dataclass(frozen=True)
class EngineCommand:
    """`ENGINE [GLOBALS] [container] run [OPTIONS] IMAGE [COMMAND…]`.

    Attributes:
        words: all of it.
        before: the engine's program and its global options.
        client: the same with those that stand behind `run`; what other verbs are put behind.
        verb: the words that say `run`.
        rest: what follows `run`, options and all.
        cut: how many words of `rest` are options.
        options: the options of both places, in their order.
        image: the image, or what stands in its place.
    """

    engine: Engine
    words: tuple[str, ...]
    before: tuple[str, ...]
    client: tuple[str, ...]
    verb: tuple[str, ...]
    rest: tuple[str, ...]
    cut: int
    options: tuple[Option, ...]
    image: str

    def all(self, name: str) -> list[str]:
        """The values of an option, in their order."""
        return [one.value for one in self.options if one.name == name]

    def last(self, name: str) -> str | None:
        """The value that counts of an option that has one; None where it is not given."""
        return next(reversed(self.all(name)), None)

    def is_set(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.last(name) == "true"

    def parts(self, name: str) -> list[str]:
        """The values of an option of podman's that is a list, where one word may have several (pflag, StringSlice)."""
        return [part for value in self.all(name) for part in value.split(",")]

    def pairs(self, name: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """The values KEY=VALUE of an option by their keys, the last of each.

        environ: where the value of a KEY alone comes from; one that is not there is left out, as engines do.
        """
        found: dict[str, str] = {}
        is_list = self.engine is Engine.PODMAN and name == "annotation"
        for text in self.parts(name) if is_list else self.all(name):
            key, equals, value = text.partition("=")
            if equals:
                found[key] = value
            elif environ is not None and key in environ:
                found[key] = environ[key]
        return found

    def with_options(self, options: Sequence[str], *, globals: Sequence[str] = ()) -> list[str]:
        """The words with these options right behind `run`, and these before it. Those given come later, and count."""
        return [*self.before, *globals, *self.verb, *options, *self.rest]

    def with_last_options(self, options: Sequence[str]) -> list[str]:
        """The words with these options behind all that are given, so that of two these count."""
        return [*self.before, *self.verb, *self.rest[: self.cut], *options, *self.rest[self.cut :]]


def parse(words: Sequence[str]) -> EngineCommand:
    """What a command line is.

    Raises:
        BadInput: it runs no container, or has an option that is not known; with all that is wrong with it.
    """
    if not words:
        raise BadInput([Problem(PLACE, "no command is given", _EXAMPLE)])
    name = os.path.basename(words[0])
    if name not in list(Engine):
        hint = _OTHERS.get(name) or _EXAMPLE
        raise BadInput([Problem(PLACE, f"{short(words[0])} is no engine that is known here", hint)])
    engine = Engine(name)
    problems: list[Problem] = []
    options: list[Option] = []
    at = 1 + _options(words[1:], _GLOBAL[engine], options, problems, verb=engine)[1]
    before = tuple(words[:at])
    verb = tuple(words[at : at + 2]) if words[at : at + 1] == ["container"] else tuple(words[at : at + 1])
    if problems:
        raise BadInput(problems)
    if verb[-1:] != ("run",):
        what = f"{engine} {' '.join(verb)}" if verb else str(engine)
        raise BadInput([Problem(PLACE, f"{short(what)} runs no container", f"`{engine} run` does")])
    rest = tuple(words[at + len(verb) :])
    inner: list[Option] = []
    cut, count = _options(rest, _RUN[engine], inner, problems, verb=f"{engine} run")
    options += inner
    if problems:
        raise BadInput(problems)
    for name in ("help", "version"):
        if any(one == Option(name, "true") for one in options):
            raise BadInput([Problem(PLACE, f"with --{name}, no container is run")])
    if count == len(rest):
        raise BadInput([Problem(PLACE, "no image is given", f"{engine} run [OPTIONS] IMAGE [COMMAND…]")])
    moved = [f"--{one.name}={one.value}" for one in inner if one.name in _GLOBAL_ONLY[engine]]
    client = (*before, *moved)
    return EngineCommand(engine, tuple(words), before, client, verb, rest, cut, tuple(options), rest[count])


def _options(
    words: Sequence[str], known: Options, found: list[Option], problems: list[Problem], *, verb: str
) -> tuple[int, int]:
    """Read options; how many words they are, without and with the `--` that ends them."""
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return at, at + 1
        if not word.startswith("-") or word == "-":
            return at, at
        at += 1
        if word.startswith("--"):
            lacks = _long(word, known, found, problems, verb=verb)
        else:
            lacks = _letters(word, known, found, problems, verb=verb)
        if lacks is None:
            continue
        if at == len(words):
            problems.append(Problem(PLACE, f"{word} lacks its value"))
            break
        found.append(Option(lacks, words[at]))
        at += 1
    return at, at


def _long(word: str, known: Options, found: list[Option], problems: list[Problem], *, verb: str) -> str | None:
    """Read `--name` or `--name=value`; the option's name if its value is the next word."""
    text, equals, value = word[2:].partition("=")
    name = known.names.get(text)
    if name is None:
        near = did_you_mean(text, known.names)
        # Joined on, its value is no question.
        if equals and near is None:
            found.append(Option(text, value))
            return None
        hint = f"did you mean --{near}?" if near else "if it takes a value, join them: --NAME=VALUE"
        problems.append(Problem(PLACE, f"{short(word)} is no option of {verb} that is known here", hint))
        return None
    if equals:
        found.append(Option(name, value if name in known.valued else _switch(word, value, problems)))
        return None
    if name in known.valued:
        return name
    found.append(Option(name, "true"))
    return None


def _letters(word: str, known: Options, found: list[Option], problems: list[Problem], *, verb: str) -> str | None:
    """Read `-it`, `-p80:80`, `-p=80:80`, `-d=false`; the name of the last option if its value is the next word."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        name = known.letters.get(letter)
        if name is None:
            which = f"-{letter} (of {short(word)})" if len(word) > 2 else short(word)
            problems.append(Problem(PLACE, f"{which} is no option of {verb} that is known here"))
            return None
        if name in known.valued:
            if not letters:
                return name
            found.append(Option(name, letters.removeprefix("=")))
            return None
        if letters.startswith("="):
            found.append(Option(name, _switch(word, letters[1:], problems)))
            return None
        found.append(Option(name, "true"))
    return None


def _switch(word: str, value: str, problems: list[Problem]) -> str:
    if value in _FALSE:
        return "false"
    if value not in _TRUE:
        problems.append(Problem(PLACE, f"{short(word)} is neither true nor false"))
    return "true"
