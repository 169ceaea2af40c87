# ruff: noqa: E501 - one text per line
"""The problems that callers of the API can tell apart. The Dutch texts are in archiver/locale/nl/api.po."""

from dataclasses import dataclass

from archiver.export.catalogue import N_

ROOT = "/api/v1"


@dataclass(frozen=True, slots=True)
class Kind:
    """A problem that callers can tell apart; its texts are English here, and translated."""

    name: str
    status: int
    title: str
    detail: str

    @property
    def address(self) -> str:
        """The problem's `type`: where the page for developers explains it."""
        return f"{ROOT}/#problem-{self.name}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "unreadable",
            400,
            N_("The request can't be read"),
            N_("The body is not JSON, or the request line or a header is malformed."),
        ),
        Kind(
            "unauthenticated",
            401,
            N_("Not signed in"),
            N_(
                "Give a personal access token: 'Authorization: Bearer griffier_pat_…'. A token that has expired, was revoked or is mistyped counts as none."
            ),
        ),
        Kind(
            "not-yours",
            403,
            N_("Not within your role"),
            N_("Your role gives no access to this. That this was refused is recorded."),
        ),
        Kind(
            "scope",
            403,
            N_("Not within the token's scopes"),
            N_("The token was not made for this. Make one with the scope that this operation names."),
        ),
        Kind(
            "no-account",
            403,
            N_("No chat account known"),
            N_(
                "Which chat account is yours is not known, so neither which conversations. Ask the administrator to add it to your role."
            ),
        ),
        Kind(
            "apart",
            403,
            N_("Roles that exclude each other"),
            N_("You have two roles that may not go together. Ask the administrator to take one of them back."),
        ),
        Kind(
            "forged",
            403,
            N_("A session is not enough for this"),
            N_(
                "What changes something takes a personal access token, or a session with its form token in the header 'Griffier-Form-Token'."
            ),
        ),
        Kind(
            "purpose",
            403,
            N_("No purpose given"),
            N_(
                "The organisation asks for what purpose content is opened. Say so in the header 'Griffier-Purpose', and the case in 'Griffier-Case-Number'."
            ),
        ),
        Kind(
            "infected",
            403,
            N_("The file is infected"),
            N_("The virus scanner found harmful software in this file. Ask with 'despite=infected' if you must have it."),
        ),
        Kind("not-found", 404, N_("Not found"), N_("There is no such thing, or it is not yours to see.")),
        Kind(
            "method",
            405,
            N_("No such method"),
            N_("This address does not know this method; the header 'Allow' names those it knows."),
        ),
        Kind("conflict", 409, N_("Not possible now"), N_("What is there now stands in the way of this.")),
        Kind(
            "too-many-exports",
            409,
            N_("Too many exports"),
            N_("You have as many exports waiting as one person may. Wait until one is ready, or cancel one."),
        ),
        Kind(
            "not-scanned", 409, N_("Not scanned yet"), N_("The virus scanner has not seen this file yet. Try again in a minute.")
        ),
        Kind("too-large", 413, N_("Too large"), N_("The body is larger than an operation takes.")),
        Kind("media-type", 415, N_("Not JSON"), N_("The body must be sent as 'application/json'.")),
        Kind("invalid", 422, N_("Invalid request"), N_("Parameters or body are not as the OpenAPI document describes them.")),
        Kind("cursor", 404, N_("Invalid cursor"), N_("The cursor is not one that this list gave. Begin again without one.")),
        Kind(
            "query",
            422,
            N_("Unclear query"),
            N_("The words to search for can't be understood; 'errors' says what is wrong with them."),
        ),
        Kind("too-many", 429, N_("Too many requests"), N_("Wait as many seconds as 'Retry-After' says.")),
        Kind("failed", 500, N_("Something went wrong"), N_("The administrator finds the cause in the log.")),
        Kind("unavailable", 503, N_("Not available now"), N_("The archive's database can't be reached. Try again in a minute.")),
    )
}
