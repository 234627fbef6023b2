"""Find a running container by name or id, in Docker and podman: its first process, and what it runs."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scmm_oci.errors import Failure, did_you_mean, printable, short
from scmm_oci.oci.annotations import is_capture_name
from scmm_oci.recorder.users import User

_PATIENCE_S = 20.0
_MOST_NAMES = 8  # in a message


class Engine(StrEnum):
    """Engines that are asked."""

    DOCKER = "docker"
    PODMAN = "podman"


@dataclass(frozen=True)
class Container:
    """A container: its engine, whole id, name, command line and runtime; pid: of its first process here, 0 for none."""

    engine: Engine
    id: str
    name: str
    pid: int
    args: tuple[str, ...]
    runtime: str | None


def find_container(name: str, *, engine: Engine | None = None, user: User | None = None) -> Container:
    """The running container of that name, id, or unambiguous beginning of an id.

    Args:
        engine: only this one is asked; None: both.
        user: whose rootless podman is asked, besides root's.

    Raises:
        Failure: there is none, it does not run, more than one engine has one, or no engine answers.
    """
    if not is_capture_name(name):
        raise Failure(f"{short(name)} is no container's name or id")
    found: list[Container] = []
    names: set[str] = set()
    silent: list[str] = []
    for one in [engine] if engine is not None else list(Engine):
        for whose in [None, user] if one is Engine.PODMAN and user is not None else [None]:
            try:
                container, known = _docker(name) if one is Engine.DOCKER else _podman(name, whose)
            except _NoAnswer as error:
                who = f" (of uid {whose.uid})" if whose is not None else ""
                silent.append(f"{one}{who}: {printable(str(error))}")
                continue
            names |= known
            if container is not None:
                found.append(container)
    # One that does not run cannot be meant.
    running = [each for each in found if each.pid]
    if len(running) > 1:
        both = " and ".join(f"{each.engine} ({each.id[:12]})" for each in running)
        raise Failure(f"{both} both have a container {name!r}", "choose with --engine, or give an id")
    if running:
        return running[0]
    if found:
        raise Failure(
            f"the container {name!r} does not run", "start it, or record it from its start: scmm hooks --help"
        )
    near = did_you_mean(name, names) if names else None
    listed = ", ".join(sorted(names)[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    hint = f"did you mean {near!r}?" if near else f"running: {listed}" if names else ""
    asked = f"{engine} has no" if engine is not None else "no engine has a"
    raise Failure(f"{asked} container {name!r}", "; ".join(filter(None, [hint, *silent])))


class _NoAnswer(Exception):
    """An engine that is not there or does not answer."""


def _docker(name: str) -> tuple[Container | None, set[str]]:
    import docker
    from docker import errors

    try:
        client = docker.from_env(timeout=int(_PATIENCE_S))
    except errors.DockerException as error:
        raise _NoAnswer(_reason(error)) from None
    try:
        try:
            details = client.containers.get(name).attrs
        except errors.NotFound:
            return None, {each.name for each in client.containers.list() if each.name}
        runtime = details.get("HostConfig", {}).get("Runtime")
        return _container(Engine.DOCKER, details, runtime=runtime), set()
    except errors.APIError as error:
        raise _NoAnswer(str(error.explanation or error)) from None
    except (errors.DockerException, OSError) as error:
        raise _NoAnswer(_reason(error)) from None
    finally:
        client.close()


def _reason(error: BaseException) -> str:
    """What the system said, if an exception is about that in the end; else the exception's first line."""
    inner: BaseException | None = error
    for _ in range(8):
        if inner is None:
            break
        if isinstance(inner, OSError) and inner.strerror:
            return f"does not answer ({inner.strerror})"
        nested = [each for arg in inner.args for each in (arg if isinstance(arg, tuple) else [arg])]
        inner = next((each for each in nested if isinstance(each, BaseException)), inner.__cause__ or inner.__context__)
    return (str(error).splitlines() or ["does not answer"])[0][:200]


def _podman(name: str, user: User | None) -> tuple[Container | None, set[str]]:
    # Podman's own command knows the containers of its user's storage, without a service that listens.
    program = shutil.which("podman")
    if program is None:
        raise _NoAnswer("is not installed")
    try:
        details = _run([program, "container", "inspect", name], user)
    except _NoAnswer:
        listed = _run([program, "ps", "--format", "json"], user)
        return None, {str(each) for row in listed if isinstance(row, dict) for each in row.get("Names") or []}
    if not details or not isinstance(details[0], dict):
        raise _NoAnswer("gives an answer that is not understood")
    return _container(Engine.PODMAN, details[0], runtime=details[0].get("OCIRuntime")), set()


def _run(words: list[str], user: User | None) -> list[Any]:
    """The list that a command prints as JSON. Raises _NoAnswer."""
    become: dict[str, Any] = {}
    if user is not None:
        become = {"user": user.uid, "group": user.gid, "cwd": "/", "env": _environment(user)}
        become["extra_groups"] = os.getgrouplist(user.name, user.gid) if user.name is not None else []
    try:
        done = subprocess.run(
            words, capture_output=True, timeout=_PATIENCE_S, check=False, stdin=subprocess.DEVNULL, **become
        )
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        raise _NoAnswer("does not answer") from None
    except (OSError, ValueError) as error:
        raise _NoAnswer(_reason(error)) from None
    if not isinstance(found, list):
        lines = done.stderr.decode(errors="replace").splitlines() or ["does not answer"]
        raise _NoAnswer(lines[-1][:200])
    return found


def _environment(user: User) -> dict[str, str]:
    """What rootless podman needs to find its user's containers."""
    try:
        home = pwd.getpwuid(user.uid).pw_dir
    except KeyError:
        home = "/"
    runtime = f"/run/user/{user.uid}"
    where = {"XDG_RUNTIME_DIR": runtime} if os.path.isdir(runtime) else {}
    return {"HOME": home, "PATH": os.environ.get("PATH", os.defpath), "USER": user.name or str(user.uid), **where}


def _container(engine: Engine, details: dict[str, Any], *, runtime: object) -> Container:
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
