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
# Who may sign in to the web application of the demo.
READERS = (RECORDS_OFFICER, OPERATOR, INSPECTOR)

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
