"""A second reader of .scmm-pol, made of docs/formats.md alone: it shares no code with the package.

It reads good files and gives plain values; what is refused is another test's. Its glob matcher is what a launcher
does: it goes over tokens and needs no parser.
"""

import hashlib
import json


def number(data, at, size):
    return sum(byte << 8 * index for index, byte in enumerate(data[at : at + size]))


def sections_of(data):
    """{(type, id): (offset, length)} after the header and the digest."""
    assert data[:8] == b"SCMMPOL\0"
    assert (number(data, 8, 2), number(data, 10, 2)) == (2, 64)
    assert number(data, 16, 8) == len(data)
    assert number(data, 24, 8) == 0
    assert data[32:64] == hashlib.sha256(data[64:]).digest()
    count = number(data, 12, 4)
    table = {}
    end = 64 + 24 * count
    for at in range(64, end, 24):
        key = (number(data, at, 4), number(data, at + 4, 4))
        assert not table or key > max(table)
        offset, length = number(data, at + 8, 8), number(data, at + 16, 8)
        assert offset == end
        end = (offset + length + 7) // 8 * 8
        assert not any(data[offset + length : end])
        table[key] = (offset, length)
    assert end == len(data)
    return table


def read(data):
    """The file's content by the names that docs/formats.md has."""
    result = {"filters": {}, "permissive": {}, "rules": [], "ports": [], "transitions": {}}
    paths = []
    for (kind, identifier), (offset, length) in sections_of(data).items():
        body = data[offset : offset + length]
        if kind in (1, 2):
            count = number(body, 8, 4)
            assert length == 16 + 8 * count
            flags = number(body, 0, 4) if number(body, 4, 4) else None
            code = [
                (number(body, at, 2), body[at + 2], body[at + 3], number(body, at + 4, 4))
                for at in range(16, length, 8)
            ]
            result[{1: "filters", 2: "permissive"}[kind]][identifier] = (flags, code)
        elif kind == 3:
            result["ruleset"] = (*(number(body, at, 8) for at in (0, 8, 16)), number(body, 24, 4))
        elif kind == 4:
            for at in range(0, length, 24):
                result["rules"].append((number(body, at, 8), *(number(body, at + more, 4) for more in (8, 12, 16))))
        elif kind == 5:
            paths = [path_at(body, number(body, 8 + 4 * index, 4)) for index in range(number(body, 0, 4))]
        elif kind == 6:
            for at in range(0, length, 16):
                ports = number(body, at + 8, 2), number(body, at + 10, 2)
                result["ports"].append((number(body, at, 8), *ports, number(body, at + 12, 4)))
        elif kind == 7:
            given = number(body, 0, 4)
            values = ((1, "uid", 4, 4), (2, "gid", 8, 4), (4, "capabilities", 16, 8))
            result["identity"] = {name: number(body, at, size) for bit, name, at, size in values if given & bit}
        elif kind == 8:
            count = number(body, 0, 4)
            edges = [(number(body, 8 + 8 * one, 4), number(body, 12 + 8 * one, 4)) for one in range(count)]
            result["transitions"][identifier] = edges
        elif kind == 9:
            result["metadata"] = json.loads(body.decode())
        else:
            assert kind == 10
            result["watch"] = watch_of(body)
    result["rules"] = [(access, paths[index], missing, abi) for access, index, missing, abi in result["rules"]]
    return result


def watch_of(body):
    """(action, {ABI: (serving calls, serving edges, triples, serving triples)})"""
    machines, at = {}, 8
    for _ in range(number(body, 4, 4)):
        identifier, has_serving, *counts = (number(body, at + 4 * one, 4) for one in range(6))
        at += 24
        lists = []
        for width, count in zip((1, 2, 3, 3), counts, strict=True):
            rows = [
                tuple(number(body, at + 4 * (width * row + one), 4) for one in range(width)) for row in range(count)
            ]
            lists.append(rows)
            at += 4 * width * count
        calls = tuple(call for (call,) in lists[0])
        assert has_serving or not calls
        machines[identifier] = (calls if has_serving else None, *lists[1:])
    assert at == len(body)
    return ["count", "alert", "freeze", "kill"][number(body, 0, 4)], machines


def path_at(body, at):
    """(kind, [(kind of the component, bytes)])"""
    kind, count = number(body, at, 2), number(body, at + 2, 2)
    at += 4
    components = []
    for _ in range(count):
        length = number(body, at + 2, 2)
        components.append((body[at], body[at + 4 : at + 4 + length]))
        at += 4 + (length + 3) // 4 * 4
    return kind, components


def matches(tokens, name):
    """Whether the tokens of a glob match a name's bytes, as C would do it: with one place to come back to."""
    at = here = 0
    star = mark = -1
    while here < len(name):
        if at < len(tokens) and tokens[at] == 0:
            star, mark = at, here
            at += 1
        elif at < len(tokens) and fits(tokens, at, name[here]):
            at += 2 if tokens[at] == 1 else 33
            here += 1
        elif star >= 0:
            mark += 1
            at, here = star + 1, mark
        else:
            return False
    while at < len(tokens) and tokens[at] == 0:
        at += 1
    return at == len(tokens)


def fits(tokens, at, byte):
    if tokens[at] == 1:
        return tokens[at + 1] == byte
    return tokens[at + 1 + byte // 8] >> byte % 8 & 1 == 1
