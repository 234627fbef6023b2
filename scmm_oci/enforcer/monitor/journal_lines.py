"""Decisions as the lines of the log: one JSON object each, in ASCII, without anything that steers a terminal. Pure.

Made by hand of parts that are kept, because json.dumps takes longer than all the rest of a decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from scmm_oci.enforcer.monitor.model import Address, Call, Decision, Memory, Process, Target, Verdict
from scmm_oci.enforcer.monitor.record import Decided, timestamp
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import Arch

Words = Callable[[Call, Memory | None], str]

_KEPT = 1024  # parts of each kind that are kept
_ARGS = '"args":["%#x","%#x","%#x","%#x","%#x","%#x"]'


class Lines:
    """Makes lines. `words`: how people read a call, where a decision does not say."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._second, self._prefix = -1, ""
        self._read_calls: dict[tuple[Arch | None, int, int, tuple[int, ...]], str] = {}
        self._targets: dict[int, tuple[Target, str]] = {}  # by id(), and whose it is
        self._calls: dict[tuple[Arch | None, int, int], str] = {}
        self._decisions: dict[tuple[Verdict, str, int, int, str, str | None], str] = {}

    def line(self, decided: Decided) -> str:
        """The object, and a line end."""
        at, target, call, decision, process, words, memory, paths, address, waited, result, on_behalf = decided
        read = _text(words) if words is not None else self._read(call, memory)
        rest = ""
        if process is not None:
            rest += _process(process)
        if paths is not None:
            rest += f',"paths":[{",".join(map(_text, paths))}]'
        if address is not None:
            rest += _address(address)
        if result is not None:
            rest += f',"result":{_text(errnos.name(result) if result else "ok")}'
        if on_behalf:
            rest += ',"on_behalf":true'
        return (
            f'{{"time":{self._time(at)},{self._target(target)},{self._call(call)},{_ARGS % call.args},'
            f'"words":{read},{self._decision(decision)},"waited":{waited:.6f}{rest}}}\n'
        )

    def _read(self, call: Call, memory: Memory | None) -> str:
        if memory is not None:
            return _text(self._words(call, memory))
        key = (call.arch, call.audit, call.nr, call.args)
        text = self._read_calls.get(key)
        if text is None:
            if len(self._read_calls) >= _KEPT:
                self._read_calls.clear()
            text = self._read_calls[key] = _text(self._words(call, None))
        return text

    def _time(self, at: float) -> str:
        second, micros = divmod(round(at * 1_000_000), 1_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime('"%Y-%m-%dT%H:%M:%S', time.gmtime(second))
        return f'{self._prefix}.{micros:06}Z"'

    def _target(self, target: Target) -> str:
        kept = self._targets.get(id(target))
        if kept is not None and kept[0] is target:
            return kept[1]
        text = f'"target":{{"id":{_text(target.id)},"name":{_text(target.name)},"pid":{target.pid}}}'
        if len(self._targets) >= _KEPT:
            self._targets.clear()
        self._targets[id(target)] = target, text
        return text

    def _call(self, call: Call) -> str:
        key = (call.arch, call.audit, call.nr)
        text = self._calls.get(key)
        if text is None:
            arch = "null" if call.arch is None else f'"{call.arch.value}"'
            name = "null" if call.name is None else _text(call.name)
            text = f'"arch":{arch},"nr":{call.nr},"call":{name}'
            if call.arch is None:
                text += f',"audit":"{call.audit:#x}"'
            if len(self._calls) >= _KEPT:
                self._calls.clear()
            self._calls[key] = text
        return text

    def _decision(self, decision: Decision) -> str:
        key = (decision.verdict, decision.by, decision.errno, decision.value, decision.detail, decision.path)
        text = self._decisions.get(key)
        if text is None:
            text = f'"verdict":"{decision.verdict.value}","by":"{decision.by.value}"'
            if decision.verdict is Verdict.DENY:
                text += f',"errno":{_text(errnos.name(decision.errno))}'
            if decision.verdict is Verdict.RETURN:
                text += f',"value":{decision.value}'
            if decision.detail:
                text += f',"detail":{_text(decision.detail)}'
            if decision.path is not None:
                text += f',"path":{_text(decision.path)}'
            if len(self._decisions) >= _KEPT:
                self._decisions.clear()
            self._decisions[key] = text
        return text


def lost_line(at: float, count: int) -> str:
    """The line that stands for `count` decisions that could not be written."""
    return f'{{"time":"{timestamp(at)}","lost":{count}}}\n'


def _process(process: Process) -> str:
    executable = "null" if process.executable is None else _text(process.executable)
    return (
        f',"process":{{"pid":{process.pid},"tid":{process.tid},"executable":{executable},'
        f'"comm":{_text(process.comm)},"uid":{process.uid}}}'
    )


def _address(address: Address) -> str:
    text = "null" if address.text is None else _text(address.text)
    port = "null" if address.port is None else str(address.port)
    return f',"address":{{"family":{_text(address.family)},"text":{text},"port":{port}}}'


def _text(text: str) -> str:
    made = encode_basestring_ascii(text)
    # The one control character that JSON leaves as it is.
    return made.replace("\x7f", "\\u007f") if "\x7f" in made else made
