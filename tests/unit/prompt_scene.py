"""A program on a terminal that asks what a test has it ask, for the prompt's tests: JSON lines on a UNIX socket.

A line is {"ask": N, and what of the question is not usual}, {"later": seconds}, {"tell": text}, {"counts": [n, n]},
{"alive": N} or {"cancel": N}; lines back are {"asked": N, "answer": word, "by": word} and {"alive": N, "read": bytes
that came by keys}. The clock stands until a line moves it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from asked import Clock, Limits, process, question, target

from scmm_oci.cli.monitor_prompt import open_prompt
from scmm_oci.enforcer.monitor.asking import Asking
from scmm_oci.enforcer.monitor.questions import Answer


class Keys:
    """Counts what the prompt reads."""

    def __init__(self) -> None:
        self.count = 0
        self._read = os.read

    def read(self, fd: int, size: int) -> bytes:
        data = self._read(fd, size)
        self.count += len(data)
        return data


async def main(path: str) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    keys = Keys()
    os.read = keys.read
    clock, counts = Clock(), [0, 0]
    prompt = open_prompt(lambda: (counts[0], counts[1]), clock)
    asking = Asking(Limits(), 30.0, clock, [] if prompt is None else [prompt])
    tasks: dict[int, asyncio.Task[None]] = {}
    reader, writer = await asyncio.open_unix_connection(path)

    def say(**words: object) -> None:
        writer.write(json.dumps(words).encode() + b"\n")

    async def ask(number: int, changes: dict[str, Any]) -> None:
        if changes.get("process"):
            changes["process"] = process(**changes["process"])
        if "choices" in changes:
            changes["choices"] = frozenset(map(Answer, changes["choices"]))
        if "target" in changes:
            changes["target"] = target(changes["target"])
        reply = await asking.ask(question(number, **{"deadline": clock.at + 30, **changes}))
        say(asked=number, answer=reply.answer, by=reply.by)

    async def next_line() -> bytes:
        try:
            return await reader.readline()
        except ConnectionResetError:
            return b""  # the test has ended, and has not heard all

    async def obey() -> None:
        while line := await next_line():
            wanted = json.loads(line)
            match wanted:
                case {"ask": number, **changes}:
                    tasks[number] = asyncio.create_task(ask(number, changes))
                case {"later": seconds}:
                    clock.at += seconds
                    asking.tick()
                case {"tell": text}:
                    assert prompt is not None
                    prompt.tell(text)
                case {"counts": wanted}:
                    counts[:] = wanted
                case {"cancel": number}:
                    tasks[number].cancel()
                case {"alive": number}:
                    say(alive=number, prompt=prompt is not None, read=keys.count)
        ended.set()

    obeying = asyncio.create_task(obey())
    await ended.wait()
    asking.close()
    obeying.cancel()
    return 7


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
