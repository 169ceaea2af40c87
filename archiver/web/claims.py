"""From the claims of an identity provider to who somebody is here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archiver.settings import Oidc, Settings
from archiver.web.roles import MATRIX_ID, Role
from archiver.web.sessions import SignedIn


class ClaimsError(Exception):
    """Somebody may not come in by what the provider says of them; `code` names the text that tells them why."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail


def at(claims: Mapping[str, Any], path: str) -> Any:
    """What is at a dotted path (`realm_access.roles`); a claim whose own name has dots goes first. None where nothing is."""
    if not path:
        return None
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value


def wanted(oidc: Oidc) -> list[str]:
    """The paths that are looked at; what an ID token lacks of them is asked for at the userinfo endpoint."""
    paths = (oidc.person_claim, oidc.roles_claim, oidc.organisation_claim, oidc.user_claim, oidc.name_claim)
    return [path for path in paths if path]


def signed_in(claims: Mapping[str, Any], settings: Settings, id_token: str) -> SignedIn:
    """Who this is. Raises ClaimsError."""
    oidc = settings.web.oidc
    person = at(claims, oidc.person_claim)
    if not _text(person):
        raise ClaimsError("no_person", oidc.person_claim)
    if oidc.organisation_claim:
        told = [str(value) for value in _listed(at(claims, oidc.organisation_claim))]
        if not {str(settings.organisation.id), settings.organisation.name} & set(told):
            raise ClaimsError("other_organisation", str(person))
    sid, name = claims.get("sid"), at(claims, oidc.name_claim)
    return SignedIn(
        issuer=oidc.issuer,
        subject=str(claims["sub"]),
        sid=sid if _text(sid) else None,
        person=str(person),
        name=name if _text(name) else str(person),
        matrix_id=_matrix_id(at(claims, oidc.user_claim), settings),
        roles=frozenset(Role(oidc.roles[value]) for value in _listed(at(claims, oidc.roles_claim)) if value in oidc.roles),
        id_token=id_token,
    )


def _matrix_id(value: Any, settings: Settings) -> str | None:
    if not _text(value):
        return None
    whole = value if value.startswith("@") else f"@{value}:{settings.homeserver.server_name}"
    return whole if MATRIX_ID.fullmatch(whole) else None


def _listed(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values if isinstance(each, str | int) and not isinstance(each, bool)]


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value.strip()) > 0 and len(value) <= 255 and value.isprintable()
