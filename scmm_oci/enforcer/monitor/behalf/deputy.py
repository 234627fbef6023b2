"""A deputy: the process that makes one call. It says what the call's names stand for, waits for a word, and makes it.

It is the monitor's copy at first, in all namespaces and with all rights of the monitor, and does nothing in that time
that the thread can reach. From `Reading.become` on it is no more than the thread.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import Any

from scmm_oci.enforcer.monitor.behalf.acting import Acting, Done
from scmm_oci.enforcer.monitor.behalf.found import Found, Nowhere
from scmm_oci.enforcer.monitor.behalf.identity import Impossible, Own, Reading
from scmm_oci.enforcer.monitor.behalf.lookup import Lookup
from scmm_oci.enforcer.monitor.behalf.table import Act
from scmm_oci.kernel import identity, notify

MOST = 1 << 17  # of a message: three names of 4,096 bytes with six characters for each


def run(requests: socket.socket, taken: int, zygote: int, own: Own) -> None:
    """Take the next request and serve it; returns when it is done, or when there will be none.

    Args:
        requests: gets two descriptors each: a channel, and the listener.
        taken: a pipe that is told the deputy's number when it has one.
        own: of the zygote.
    """
    identity.close_to_others()
    identity.die_with_parent(zygote)
    fds_of_ours = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    handle = os.pidfd_open(os.getpid())
    data, fds, _, _ = socket.recv_fds(requests, 1, 2, socket.MSG_CMSG_CLOEXEC)
    os.write(taken, os.getpid().to_bytes(4, "little"))
    os.close(taken)
    requests.close()
    if not data or len(fds) != 2:
        return
    channel = socket.socket(fileno=fds[0])
    socket.send_fds(channel, [b"{}"], [handle])
    os.close(handle)
    asked = channel.recv(MOST)
    if not asked:
        return
    try:
        acting, found = _resolve(json.loads(asked), own, fds_of_ours, fds[1], zygote)
    except Impossible as error:
        _say(channel, impossible=str(error))
        return
    except Nowhere as error:
        _say(channel, paths=[], error=error.number)
        return
    except Exception as error:
        _say(channel, impossible=f"{type(error).__name__}: {error}")
        return
    _say(channel, paths=[os.fsdecode(one.path) for one in found], error=0)
    order = channel.recv(MOST)
    if order:
        _make(channel, acting, found, json.loads(order))


def _resolve(
    asked: dict[str, Any], own: Own, fds_of_ours: int, listener: int, zygote: int
) -> tuple[Acting, list[Found]]:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in asked["act"].items()}
    act = Act(**fields)
    names = [None if one is None else os.fsencode(one) for one in asked["names"]]
    reading = Reading(asked["tid"], own, directories=act.directories, socket=act.socket)
    if not notify.is_waiting(listener, asked["id"]):
        raise Impossible("it is gone")
    os.close(listener)
    reading.enter()
    starts = [reading.here, *(fd for fd in reading.directories.values() if fd >= 0)]
    lookup = Lookup(root=reading.root, own=fds_of_ours, who=reading.who, starts=starts)
    reading.become(zygote)
    text = None if asked["text"] is None else os.fsencode(asked["text"])
    acting = Acting(act, reading, lookup, own=fds_of_ours, raw=bytes.fromhex(asked["raw"]), text=text)
    return acting, acting.find(names)


def _make(channel: socket.socket, acting: Acting, found: list[Found], order: dict[str, Any]) -> None:
    try:
        if order["path"] is not None:
            found = acting.find_instead(os.fsencode(order["path"]))
        done = acting.make(found)
    except Impossible as error:
        _say(channel, impossible=str(error))
    except Nowhere as error:
        _tell(channel, Done(0), error.number)
    except OSError as error:
        _tell(channel, Done(0), error.errno or errno.EIO)
    except Exception as error:
        _say(channel, impossible=f"{type(error).__name__}: {error}")
    else:
        _tell(channel, done, 0)


def _tell(channel: socket.socket, done: Done, error: int) -> None:
    message = json.dumps({"error": error, "value": done.value}).encode()
    if done.fd is None:
        channel.send(message)
    else:
        socket.send_fds(channel, [message], [done.fd])


def _say(channel: socket.socket, **words: object) -> None:
    channel.send(json.dumps(words).encode())
