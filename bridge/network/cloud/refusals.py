"""Meta's error codes in plain words: what is wrong, what to do, whether it passes, what it holds for (Meta: error codes)."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.network import NetworkError, Scope

WINDOW_CLOSED = 131047
TOKEN_REFUSED = 190
UPLOAD_REFUSED = 131053


@dataclass(frozen=True, slots=True)
class Refusal:
    """One code: for people in Dutch and in English, and for the relay."""

    dutch: str
    english: str
    passing: bool = False
    scope: Scope = "message"
    after: float = 0  # seconds that make sense to wait when WhatsApp names none
    account: bool = False  # an admin has to do something about the account before anything goes

    @property
    def text(self) -> str:
        """Both languages as rooms show them."""
        return f"{self.dutch} · {self.english}"


def _number(dutch: str, english: str, after: float) -> Refusal:
    return Refusal(dutch, english, passing=True, scope="number", after=after)


def _account(dutch: str, english: str) -> Refusal:
    """What is wrong with an account shows at each of its numbers; those of other accounts go on."""
    return Refusal(dutch, english, passing=True, scope="number", after=60, account=True)


ACCESS = _account(
    "WhatsApp laat de brug niet toe: de toegang is verlopen of ingetrokken. Uw beheerder moet een nieuw toegangstoken instellen",
    "WhatsApp does not let the bridge in: its access has expired or was withdrawn. Your admin must set a new access token",
)
PERMISSION = _account(
    "de brug mist bij WhatsApp een recht dat hiervoor nodig is. Uw beheerder moet de rechten van het toegangstoken nakijken",
    "the bridge lacks a WhatsApp permission that this needs. Your admin must check the permissions of the access token",
)
BUSY = Refusal(
    "WhatsApp heeft zelf een storing",
    "WhatsApp itself has a disturbance",
    passing=True,
    after=5,
)
TEMPLATE_GONE = Refusal(
    "dit sjabloon bestaat niet meer of is niet goedgekeurd. Vraag met !sjabloon de lijst opnieuw op",
    "this template is gone or not approved. Ask for the list again with !template",
)
GROUP_GONE = Refusal(
    "deze WhatsApp-groep bestaat niet meer of dit nummer zit er niet meer in",
    "this WhatsApp group is gone, or this number is no longer in it",
)
CODES: dict[int, Refusal] = {
    0: ACCESS,
    1: Refusal("WhatsApp kon het verzoek niet verwerken", "WhatsApp could not process the request", passing=True, after=5),
    2: BUSY,
    3: PERMISSION,
    4: _number(
        "het maximum aantal verzoeken aan WhatsApp is even bereikt",
        "the maximum of requests to WhatsApp has been reached for the moment",
        60,
    ),
    10: PERMISSION,
    33: Refusal(
        "dit nummer bestaat niet meer bij WhatsApp. Vraag uw beheerder", "this number is gone from WhatsApp. Ask your admin"
    ),
    100: Refusal(
        "WhatsApp kan dit bericht zo niet aannemen. Schrijf het anders, of vraag uw beheerder",
        "WhatsApp can't take this message as it is. Write it in another way, or ask your admin",
    ),
    TOKEN_REFUSED: ACCESS,
    368: _account(
        "WhatsApp heeft het account tijdelijk geblokkeerd wegens zijn beleid. Uw beheerder moet dit met Meta oplossen",
        "WhatsApp has blocked the account for a while over its policy. Your admin must settle this with Meta",
    ),
    80007: _number(
        "het maximum aantal verzoeken van het WhatsApp-account is even bereikt",
        "the maximum of requests of the WhatsApp account has been reached for the moment",
        60,
    ),
    130429: _number(
        "er gaan nu te veel berichten tegelijk uit van dit nummer", "too many messages leave this number at the moment", 1
    ),
    130472: Refusal(
        "WhatsApp hield dit bericht tegen als proef met marketing-berichten. Neem op een andere manier contact op",
        "WhatsApp held this message back as an experiment with marketing messages. Get in touch in another way",
    ),
    130497: Refusal(
        "WhatsApp staat dit account geen berichten naar dit land toe",
        "WhatsApp does not allow this account messages to this country",
    ),
    131000: Refusal(
        "WhatsApp kon het bericht door een onbekende fout niet versturen",
        "WhatsApp could not send the message over an unknown error",
        passing=True,
        after=5,
    ),
    131005: PERMISSION,
    131008: Refusal(
        "WhatsApp mist een gegeven in dit bericht. Vraag uw beheerder", "WhatsApp misses a part of this message. Ask your admin"
    ),
    131009: Refusal(
        "WhatsApp neemt een onderdeel van dit bericht niet aan; bij een reactie of antwoord is het bericht waar het over gaat "
        "te oud of verwijderd",
        "WhatsApp does not take a part of this message; of a reaction or reply, what it is about is too old or deleted",
    ),
    131016: BUSY,
    131020: Refusal("in deze WhatsApp-groep zit niemand anders meer", "nobody else is left in this WhatsApp group"),
    131021: Refusal("dit is het nummer zelf", "this is the number itself"),
    131026: Refusal(
        "WhatsApp kan het niet bezorgen: het nummer zit niet op WhatsApp, de app is te oud, of de nieuwe voorwaarden zijn nog "
        "niet aanvaard. Bel of mail deze persoon",
        "WhatsApp can't deliver it: the number is not on WhatsApp, the app is too old, or the new terms have not been accepted. "
        "Call or mail this person",
    ),
    131031: _account(
        "WhatsApp heeft het account op slot gedaan. Uw beheerder moet dit met Meta oplossen",
        "WhatsApp has locked the account. Your admin must settle this with Meta",
    ),
    131037: Refusal(
        "de weergavenaam van dit nummer is nog niet door WhatsApp goedgekeurd. Vraag uw beheerder",
        "WhatsApp has not approved the display name of this number. Ask your admin",
    ),
    131041: GROUP_GONE,
    131042: Refusal(
        "er is iets met de betaling van het WhatsApp-account. Vraag uw beheerder",
        "something is wrong with the payment of the WhatsApp account. Ask your admin",
    ),
    131045: Refusal(
        "dit nummer is niet goed bij WhatsApp aangemeld. Vraag uw beheerder",
        "this number is not registered with WhatsApp as it should. Ask your admin",
    ),
    WINDOW_CLOSED: Refusal(
        "het laatste bericht van deze persoon is meer dan 24 uur oud; WhatsApp staat nu alleen goedgekeurde sjablonen toe. "
        "Typ !sjabloon voor de lijst",
        "the last message of this person is more than 24 hours old; WhatsApp now allows approved templates only. "
        "Type !template for the list",
    ),
    131048: _number(
        "WhatsApp beperkt dit nummer, omdat ontvangers berichten ervan als ongewenst meldden",
        "WhatsApp restricts this number, because recipients reported messages of it as spam",
        300,
    ),
    131049: Refusal(
        "WhatsApp heeft besloten dit sjabloon nu niet te bezorgen. Wacht een dag",
        "WhatsApp chose not to deliver this template now. Wait a day",
    ),
    131050: Refusal(
        "deze persoon wil geen marketing-berichten van dit nummer", "this person wants no marketing messages of this number"
    ),
    131051: Refusal("WhatsApp kent dit soort bericht niet", "WhatsApp does not know this kind of message"),
    131052: Refusal(
        "WhatsApp kon het bestand van deze persoon niet ophalen. Vraag het nog eens te sturen",
        "WhatsApp could not fetch this person's file. Ask for it again",
    ),
    UPLOAD_REFUSED: Refusal(
        "WhatsApp neemt dit soort bestand niet aan. Maak er een PDF, JPEG of MP4 van en stuur dat",
        "WhatsApp does not take this kind of file. Make it a PDF, JPEG or MP4 and send that",
    ),
    131056: Refusal(
        "er gingen in korte tijd te veel berichten naar deze persoon",
        "too many messages went to this person in a short time",
        passing=True,
        after=6,
    ),
    131057: _number("WhatsApp werkt dit nummer bij", "WhatsApp is upgrading this number", 30),
    131062: Refusal(
        "dit sjabloon kan niet naar iemand van wie alleen de gebruikersnaam bekend is",
        "this template can't go to somebody of whom only the user name is known",
    ),
    131207: Refusal("WhatsApp heeft deze groep stilgelegd", "WhatsApp has suspended this group"),
    131208: _number("er is in korte tijd te veel in groepen gedaan", "too much was done in groups in a short time", 30),
    131212: GROUP_GONE,
    131215: Refusal(
        "WhatsApp staat dit nummer geen groepen toe. Vraag uw beheerder", "WhatsApp allows this number no groups. Ask your admin"
    ),
    132000: Refusal("het aantal ingevulde waarden past niet bij het sjabloon", "the number of values does not fit the template"),
    132001: TEMPLATE_GONE,
    132005: Refusal(
        "het sjabloon wordt met deze waarden te lang. Kort ze in", "the template becomes too long with these values. Shorten them"
    ),
    132007: Refusal(
        "een waarde bevat tekens die WhatsApp in sjablonen niet toestaat",
        "a value has characters that WhatsApp does not allow there",
    ),
    132012: Refusal(
        "een waarde heeft niet de vorm die het sjabloon vraagt", "a value does not have the form that the template asks for"
    ),
    132015: Refusal(
        "WhatsApp heeft dit sjabloon stilgelegd. Kies een ander", "WhatsApp has paused this template. Choose another"
    ),
    132016: Refusal(
        "WhatsApp heeft dit sjabloon voorgoed uitgezet. Kies een ander", "WhatsApp has disabled this template. Choose another"
    ),
    132068: Refusal("dit sjabloon gebruikt een formulier dat stuk is", "this template uses a form that is broken"),
    132069: Refusal("dit sjabloon gebruikt een formulier dat is stilgelegd", "this template uses a form that was paused"),
    133010: Refusal(
        "dit nummer is niet bij WhatsApp aangemeld. Vraag uw beheerder",
        "this number is not registered with WhatsApp. Ask your admin",
    ),
    133016: _number("dit nummer is te vaak aan- en afgemeld", "this number was registered too often", 300),
    134011: Refusal("betalingen zijn bij WhatsApp niet toegestaan", "payments are not allowed on WhatsApp"),
}


def refusal(code: int, status: int = 400) -> Refusal:
    """What a code means; for one that we don't know, what its HTTP status tells."""
    if code in CODES and not (code == 0 and status not in (401, 403)):
        return CODES[code]
    if 200 <= code < 300:
        return PERMISSION
    if status == 401:
        return ACCESS
    if status == 403:
        return PERMISSION
    if status == 429:
        return CODES[130429]
    if status >= 500:
        return BUSY
    return Refusal(
        f"WhatsApp weigerde het (fout {code}). Vraag uw beheerder", f"WhatsApp refused it (error {code}). Ask your admin"
    )


def error(code: int, status: int = 400, retry_after: float = 0) -> NetworkError:
    """A refusal as it is raised."""
    what = refusal(code, status)
    return NetworkError(
        what.text,
        final=not what.passing,
        after=retry_after or what.after,
        scope=what.scope,
        unsure=status >= 500 and (code not in CODES or code in (0, 1, 2)),
        code=code,
    )
