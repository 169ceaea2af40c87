"""The sample ministry: who is who, and which WhatsApp number is whose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account on the demo's homeserver."""

    localpart: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Somebody who can sign in to the demo's web application, and what the identity provider says of them."""

    person: Person
    group: str  # a value of the claim `groups`; ROLES says which role it stands for
    about: str

    def claims(self) -> dict[str, object]:
        """What goes into the ID token beside who they are."""
        return {"name": self.person.name, "groups": [self.group], "matrix_id": user_id(self.person)}


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody outside, on WhatsApp."""

    wa_id: str
    name: str


SERVER_NAME = "rijk.localhost"
ARCHIVER = Person("archief", "Griffier (archief)", "archiver")
OPERATOR = Person("beheer", "Beheerder Griffier", "admin")
MINISTER = Person("minister", "Karin de Wit", "minister")
STATE_SECRETARY = Person("staatssecretaris", "Tarik Benali", "staatssecretaris · state secretary")
ADVISER = Person("j.vermeer", "Joost Vermeer", "beleidsmedewerker · civil servant")
SPOKESPERSON = Person("s.hoekstra", "Sanne Hoekstra", "woordvoerder · civil servant")
RECORDS_OFFICER = Person("archivaris", "Mirjam Smit", "archiefmedewerker · records officer")
INSPECTOR = Person("inspecteur", "Pieter Kok", "inspecteur · inspector")

MINISTRY = (MINISTER, STATE_SECRETARY, ADVISER, SPOKESPERSON, RECORDS_OFFICER, OPERATOR, INSPECTOR)
# Nobody: the canary's test pair (`griffier demo --canary MINUTES`).
CANARIES = (Person("kanarie-1", "Kanarie 1", "canary"), Person("kanarie-2", "Kanarie 2", "canary"))
DESIGNATED = Person("adviseur", "Femke Bos", "aangewezen adviseur · designated advisor")
AUDITOR = Person("auditor", "Ruud Janssen", "auditor")
# Who can sign in to the web application of the demo, one for each role and two officials.
SIGN_INS = (
    SignIn(RECORDS_OFFICER, "archief", "archivaris: leest en doorzoekt alles · records officer"),
    SignIn(DESIGNATED, "advies", "adviseur: leest alles, beslist mee · advisor"),
    SignIn(INSPECTOR, "inspectie", "inspecteur: leest alles, wijzigt niets · inspector"),
    SignIn(OPERATOR, "beheer", "beheerder: toestand en rollen, geen gesprekken · admin"),
    SignIn(AUDITOR, "audit", "auditor: alleen het auditspoor · auditor"),
    SignIn(MINISTER, "ambtsdragers", "minister: alleen de eigen gesprekken · official"),
    SignIn(STATE_SECRETARY, "ambtsdragers", "staatssecretaris: alleen de eigen gesprekken · official"),
)
ROLES = {
    "archief": "records-officer", "advies": "advisor", "inspectie": "inspector", "beheer": "admin", "audit": "auditor",
    "ambtsdragers": "official",
}  # fmt: skip

# Ranges that belong to nobody: 06 97 0xx xxx is the Dutch range for machines, +31 6 00… is not given out.
PHONE_ID = "106540352242922"
PHONE_NUMBER = "+31 97 0102 03040"
CITIZEN = Contact("31600000101", "Hatice Yıldız")
JOURNALIST = Contact("31600000202", "Bram Wolters")

# The bridge's bot and its ghosts: whose word on where a message comes from is believed.
BRIDGES = [f"@whatsappbot:{SERVER_NAME}", f"@whatsapp_*:{SERVER_NAME}"]


def user_id(person: Person) -> str:
    """The person's Matrix account."""
    return f"@{person.localpart}:{SERVER_NAME}"
