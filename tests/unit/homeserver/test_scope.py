"""Whose rooms are archived."""

from __future__ import annotations

from collections import Counter

import pytest

from archiver.homeserver.scope import Scope, share


def test_one_official_in_scope_is_enough():
    scope = Scope(officials=("@*:rijk.example",), except_officials=("@or-*:rijk.example",), kinds=("private", "direct"))
    assert scope.covers(["@gast:elders.example", "@minister:rijk.example"], {"private"})
    assert not scope.covers(["@gast:elders.example", "@or-lid:rijk.example"], {"private"})
    assert not scope.covers(["@minister:rijk.example"], {"public"})
    assert not scope.covers(["@minister:rijk.example"], {"private", "public"}), "what may be out of scope is"


@pytest.mark.parametrize("config", [{"officials": "@x:y"}, {"kinds": ["geheim"]}, {"mensen": []}, {"officials": [7]}], ids=str)
def test_a_wrong_scope_is_named(config):
    with pytest.raises(ValueError, match="scope"):
        Scope.read(config)


def test_several_archivers_share_the_rooms_about_evenly_and_always_alike():
    archivers = ("@a:x", "@b:x", "@c:x")
    rooms = [f"!kamer{number}:x" for number in range(3000)]
    shares = Counter(share(room, archivers) for room in rooms)
    assert [share(room, archivers) for room in rooms] == [share(room, archivers) for room in rooms]
    assert min(shares.values()) > 700
