"""From claims to who somebody is: nothing is taken for more than it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.settings import Settings, SettingsError
from archiver.web.claims import ClaimsError, at, signed_in
from archiver.web.roles import MATRIX_ID, Role

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def settings(**oidc: Any) -> Settings:
    whole = {"issuer": "https://sso.x", "roles_claim": "realm_access.roles", "roles": {"archief": "records-officer"}} | oidc
    return Settings(web={"oidc": whole}, homeserver={"server_name": "rijk.x"})


def test_a_dotted_path_leads_into_objects_and_a_claim_with_dots_in_its_name_goes_first():
    assert at({"realm_access": {"roles": ["a"]}}, "realm_access.roles") == ["a"]
    assert at({"https://x.nl/rollen": ["b"], "https://x": 1}, "https://x.nl/rollen") == ["b"]
    assert at({"groups": "a"}, "groups.roles") is None
    assert at({"a": {"b": 1}}, "a.c") is None
    assert at({"": 1}, "") is None


@pytest.mark.parametrize(
    ("value", "roles"),
    [
        (["archief", "iets"], {Role.RECORDS_OFFICER}),
        ("archief", {Role.RECORDS_OFFICER}),
        ("archief iets", set()),
        (["Archief"], set()),
        (["records-officer"], set()),  # only what the settings name
        ({"archief": True}, set()),
        (None, set()),
    ],
)
def test_a_role_is_held_by_who_has_exactly_the_value_that_stands_for_it(value, roles):
    claims = {"sub": "x", "realm_access": {"roles": value}}
    assert signed_in(claims, settings(), "").roles == roles


@pytest.mark.parametrize(
    ("value", "matrix_id"),
    [("minister", "@minister:rijk.x"), ("@a:elders.x", "@a:elders.x"), ("a b", None), ("@a", None), (7, None), ("", None)],
)
def test_a_matrix_id_is_whole_or_made_whole_and_nothing_else(value, matrix_id):
    assert signed_in({"sub": "x", "m": value}, settings(user_claim="m"), "").matrix_id == matrix_id


def test_an_organisation_is_known_by_its_id_or_name():
    for value in ("Ministerie", "1", 1, ["x", "Ministerie"]):
        assert signed_in({"sub": "x", "o": value}, settings(organisation_claim="o"), "")
    for value in ("ministerie", 2, True, None, {"1": 1}, []):
        with pytest.raises(ClaimsError):
            signed_in({"sub": "x", "o": value}, settings(organisation_claim="o"), "")


def test_a_role_that_does_not_exist_is_refused_as_the_settings_are_read(monkeypatch):
    monkeypatch.setenv("GRIFFIER_CONFIG", "")
    with pytest.raises(SettingsError, match="roles"):
        Settings.load(web={"oidc": {"roles": {"archief": "archivaris"}}})


@given(st.dictionaries(st.sampled_from(["realm_access", "m", "o", "name", "sid", "oid"]), JSON))
def test_claims_of_any_shape_break_nothing(claims):
    chosen = settings(user_claim="m", organisation_claim="o", person_claim="oid")
    try:
        who = signed_in(claims | {"sub": "x"}, chosen, "")
    except ClaimsError:
        return
    assert who.person == claims["oid"]
    assert who.roles <= {Role.RECORDS_OFFICER}
    assert who.matrix_id is None or MATRIX_ID.fullmatch(who.matrix_id)
