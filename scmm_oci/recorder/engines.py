"""Find a running container by name or id, in Docker and podman: its first process, and what it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.errors import Failure, did_you_mean
from scmm_oci.oci.annotations import is_capture_name

_PATIENCE_S = 20.0


class Engine(StrEnum):
    """Engines that are asked."""

    DOCKER = "docker"
    PODMAN = "podman"


@dataclass(frozen=True)
class Container:
    """A running container: its engine, whole id, name, the first process's id here, its command line and runtime."""

    engine: Engine
    id: str
    name: str
    pid: int
    args: tuple[str, ...]
    runtime: str | None


def find_container(name: str, *, engine: Engine | None = None) -> Container:
    """The running container of that name, id, or unambiguous beginning of an id.

    Args:
        engine: only this one is asked; None: both.

    Raises:
        Failure: there is none, it does not run, two engines have one, or no engine answers.
    """
    if not is_capture_name(name):
        raise Failure(f"{name!r} is no container's name or id")
    asked = {Engine.DOCKER: _docker, Engine.PODMAN: _podman}
    found: list[Container] = []
    names: set[str] = set()
    silent: list[str] = []
    for one in [engine] if engine is not None else list(Engine):
        try:
            container, known = asked[one](name)
        except _NoAnswer as error:
            silent.append(f"{one}: {error}")
            continue
        names |= known
        if container is not None:
            found.append(container)
    if len(found) > 1:
        both = " and ".join(f"{each.engine} ({each.id[:12]})" for each in found)
        raise Failure(f"{both} have a container {name!r}", "choose with --engine, or give an id")
    if found:
        if not found[0].pid:
            raise Failure(f"the container {name!r} does not run", "start it, or record it from its start: scmm hooks")
        return found[0]
    near = did_you_mean(name, names) if names else None
    hint = f"did you mean {near!r}?" if near else f"running: {', '.join(sorted(names))}" if names else ""
    raise Failure(f"no engine has a container {name!r}", "; ".join(filter(None, [hint, *silent])))


class _NoAnswer(Exception):
    """An engine that is not there or does not answer."""


def _docker(name: str) -> tuple[Container | None, set[str]]:
    import docker
    from docker import errors

    try:
        client = docker.from_env(timeout=int(_PATIENCE_S))
    except errors.DockerException as error:
        raise _NoAnswer(_first_line(error)) from None
    try:
        try:
            details = client.containers.get(name).attrs
        except errors.NotFound:
            return None, {each.name for each in client.containers.list() if each.name}
        except errors.APIError as error:
            raise _NoAnswer(_first_line(error)) from None
        runtime = details.get("HostConfig", {}).get("Runtime")
        return _container(Engine.DOCKER, details, runtime=runtime), set()
    except (errors.DockerException, OSError) as error:
        raise _NoAnswer(_first_line(error)) from None
    finally:
        client.close()


def _podman(name: str) -> tuple[Container | None, set[str]]:
    # `podman inspect` knows the containers of this user's storage without a service that listens.
    program = shutil.which("podman")
    if program is None:
        raise _NoAnswer("not installed")
    details = _run([program, "container", "inspect", name])
    if details is None:
        listed = _run([program, "ps", "--format", "json"])
        if listed is None:
            raise _NoAnswer("does not answer")
        return None, {str(each) for row in listed if isinstance(row, dict) for each in row.get("Names") or []}
    if not isinstance(details, list) or not details or not isinstance(details[0], dict):
        raise _NoAnswer("its answer is not understood")
    return _container(Engine.PODMAN, details[0], runtime=details[0].get("OCIRuntime")), set()


def _run(words: list[str]) -> list[object] | None:
    try:
        done = subprocess.run(words, capture_output=True, timeout=_PATIENCE_S, check=False, stdin=subprocess.DEVNULL)
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None


def _container(engine: Engine, details: dict[str, object], *, runtime: object) -> Container:
    state = details.get("State")
    pid = state.get("Pid") if isinstance(state, dict) else 0
    running = state.get("Running") if isinstance(state, dict) else False
    args = details.get("Args")
    words = [str(details.get("Path") or ""), *map(str, args if isinstance(args, list) else [])]
    return Container(
        engine,
        id=str(details.get("Id") or details.get("ID") or ""),
        name=str(details.get("Name") or "").lstrip("/"),
        pid=pid if isinstance(pid, int) and running else 0,
        args=tuple(words) if words[0] else (),
        runtime=os.path.basename(runtime) if isinstance(runtime, str) and runtime else None,
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no answer"])[0][:200]
