"""Landlock's table, compared with the one of landlockpy, which others wrote."""

from __future__ import annotations

import landlockpy
import pytest
from landlockpy.flags import LATEST_ABI

from scmm_oci.errors import BadInput
from scmm_oci.policy.model import LandlockScope
from scmm_oci.tables import landlock
from scmm_oci.tables.vocabulary import ACCESS_RIGHTS

KINDS = [
    (landlock.FS_RIGHTS, landlockpy.AccessFS, landlock.fs_of_abi, landlockpy.fs_for_abi, landlock.abi_of_fs),
    (landlock.NET_RIGHTS, landlockpy.AccessNet, landlock.net_of_abi, landlockpy.net_for_abi, landlock.abi_of_net),
    (landlock.SCOPES, landlockpy.Scope, landlock.scopes_of_abi, landlockpy.scope_for_abi, landlock.abi_of_scopes),
]


@pytest.mark.parametrize(("ours", "theirs", "of_abi", "for_abi", "first"), KINDS)
def test_names_bits_and_abis_are_those_of_landlockpy(ours, theirs, of_abi, for_abi, first):
    assert dict(ours) == {one.name.lower(): one.value for one in theirs if one.value}
    for abi in range(LATEST_ABI + 2):
        assert of_abi(abi) == for_abi(abi)
    for bit in ours.values():
        assert for_abi(first(bit)) & bit
        assert not for_abi(first(bit) - 1) & bit
    assert first(0) == 0
    with pytest.raises(ValueError, match="0x40000000"):
        first(1 << 30)


def test_flags_and_the_newest_abi_are_those_of_landlockpy():
    assert dict(landlock.RESTRICT_FLAGS) == {
        one.name.lower(): one.value for one in landlockpy.RestrictFlag if one.value
    }
    for abi in range(LATEST_ABI + 2):
        assert landlock.restrict_of_abi(abi) == landlockpy.restrict_for_abi(abi)
    assert landlock.NEWEST_ABI == LATEST_ABI
    assert landlock.restrict_of_abi(LATEST_ABI) == landlock.ALL_RESTRICT
    assert landlock.kernel_of(4) == "Linux 6.7"
    assert [landlock.kernel_of(abi) for abi in range(1, LATEST_ABI + 1)]
    with pytest.raises(KeyError):
        landlock.kernel_of(LATEST_ABI + 1)


def test_every_word_of_policies_is_bits_and_back():
    assert {word for word in ACCESS_RIGHTS if word != "remove"} == set(landlock.FS_RIGHTS)
    assert set(LandlockScope) == set(landlock.SCOPES)
    assert landlock.fs_mask(ACCESS_RIGHTS) == landlock.ALL_FS
    assert landlock.fs_mask(["remove"]) == landlock.fs_mask(["remove_dir", "remove_file"])
    for word in landlock.FS_RIGHTS:
        assert landlock.fs_names(landlock.fs_mask([word])) == (word,)
    assert landlock.fs_names(landlock.ALL_FS | 1 << 40) == tuple(landlock.FS_RIGHTS)
    assert landlock.net_names(landlock.ALL_NET) == tuple(landlock.NET_RIGHTS)
    assert landlock.scope_names(2) == ("signal",)
    assert landlock.FILE_RIGHTS | landlock.DIRECTORY_RIGHTS == landlock.ALL_FS
    assert not landlock.FILE_RIGHTS & landlock.DIRECTORY_RIGHTS
    assert not landlock.DIRECTORY_RIGHTS & landlock.fs_mask(["execute", "read_file"])


def test_words_that_are_no_rights_are_all_told():
    with pytest.raises(BadInput) as caught:
        landlock.fs_mask(["read_fil", "execute", "wipe"])
    assert [problem.message for problem in caught.value.problems] == [
        "'read_fil' is not an access right",
        "'wipe' is not an access right",
    ]
    assert "did you mean 'read_file'?" in caught.value.problems[0].hint
