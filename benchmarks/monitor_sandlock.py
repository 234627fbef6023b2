"""benchmarks/programs/asks.c under sandlock, whose handlers answer its calls: run by an interpreter that has sandlock.

`python monitor_sandlock.py ASKS FIFO`: commands come from standard input, which the program has; its answers go through
the FIFO to standard output, as sandlock keeps what its programs write.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Any

GETPPID, GETUID, GETGID, OPENAT = "getppid", "getuid", "getgid", "openat"
#: x86_64 and aarch64, by asm/unistd.h: sandlock knows names only of calls that it filters itself.
NUMBERS = {
    "x86_64": {GETPPID: 110, GETUID: 102, GETGID: 104, OPENAT: 257},
    "aarch64": {GETPPID: 173, GETUID: 174, GETGID: 176, OPENAT: 56},
}


def handlers(below: str) -> list[tuple[int, Any]]:
    """What the rules of benchmarks.monitor_ways say, as far as handlers can say it. `below`: where openat may go."""
    handler: Any = importlib.import_module("sandlock.handler")
    action = handler.NotifAction

    def made(decide: Any) -> Any:
        return type("Decides", (handler.Handler,), {"handle": lambda _, ctx: decide(ctx)})()

    numbers = NUMBERS[os.uname().machine]
    return [
        (numbers[GETPPID], made(lambda ctx: action.continue_())),
        (numbers[GETUID], made(lambda ctx: action.errno(1))),
        (numbers[GETGID], made(lambda ctx: action.returns(7))),
        (
            numbers[OPENAT],
            made(lambda ctx: action.continue_() if (ctx.read_path() or "").startswith(below) else action.errno(13)),
        ),
    ]


def _relay(fifo: str) -> None:
    with open(fifo, "rb", buffering=0) as answers:
        while piece := answers.read(4096):
            os.write(1, piece)


def main() -> None:
    asks, fifo = sys.argv[1:]
    threading.Thread(target=_relay, args=(fifo,), daemon=True).start()
    directory = os.path.dirname(fifo)
    sandbox = importlib.import_module("sandlock").Sandbox(fs_readable=["/"], fs_writable=[directory])
    done = sandbox.run_with_handlers([asks, "-", fifo], handlers(directory))
    if not done.success:
        sys.exit(f"sandlock: {done}")


if __name__ == "__main__":
    main()
