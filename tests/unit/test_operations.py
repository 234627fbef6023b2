"""Landlock rights of operations, as security/landlock/fs.c asks for them."""

from __future__ import annotations

import pytest

from scmm_oci.tables.operations import (
    AT_REMOVEDIR,
    O_CREAT,
    O_PATH,
    O_TRUNC,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    access_of,
)


@pytest.mark.parametrize(
    ("operation", "more", "own", "parent"),
    [
        ("open", {}, ["read_file"], []),
        ("open", {"kind": "dir"}, ["read_dir"], []),
        ("open", {"flags": 1}, ["write_file"], []),
        ("open", {"flags": 2}, ["read_file", "write_file"], []),
        ("open", {"flags": 3}, [], []),
        ("open", {"flags": O_PATH}, [], []),
        ("open", {"flags": 1 | O_TRUNC}, ["write_file", "truncate"], []),
        ("open", {"flags": 1 | O_TRUNC, "kind": "char"}, ["write_file"], []),
        ("open", {"flags": 1 | O_TRUNC | O_CREAT, "created": True}, ["write_file"], ["make_reg"]),
        ("unlink", {"flags": AT_REMOVEDIR}, [], ["remove_dir"]),
        ("mknod", {"flags": 0o010000}, [], ["make_fifo"]),
        ("stat", {}, [], []),
        ("link-to", {"across": True}, [], ["make_reg", "refer"]),
        ("link-from", {"across": True}, [], ["refer"]),
        ("rename-from", {}, [], ["remove_file"]),
        ("rename-from", {"kind": "dir", "across": True}, [], ["remove_dir", "refer"]),
        ("rename-to", {"across": True}, [], ["make_reg", "remove_file", "refer"]),
        ("rename-to", {"flags": RENAME_NOREPLACE}, [], ["make_reg"]),
        ("rename-from", {"flags": RENAME_EXCHANGE, "across": True}, [], ["make_reg", "remove_file", "refer"]),
    ],
)
def test_rights(operation: str, more: dict[str, object], own: list[str], parent: list[str]) -> None:
    assert access_of(operation, **more) == (own, parent)
