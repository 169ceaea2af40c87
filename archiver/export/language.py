# ruff: noqa: E501 - one text per line
"""The words of pages and exports, Dutch first, English second."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from archiver.export.bridged_words import BRIDGED
from archiver.export.catalogue import LANGUAGES, translations

ZONE = ZoneInfo("Europe/Amsterdam")
MONTHS = {
    "nl": "januari februari maart april mei juni juli augustus september oktober november december".split(),  # noqa: SIM905
    "en": "January February March April May June July August September October November December".split(),  # noqa: SIM905
}
DAYS = {
    "nl": "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag".split(),  # noqa: SIM905
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),  # noqa: SIM905
}

TEXTS: dict[str, dict[str, str]] = {
    **BRIDGED,
    "archive": {"nl": "Archief", "en": "Archive"},
    "rooms": {"nl": "Gesprekken", "en": "Conversations"},
    "room": {"nl": "Gesprek", "en": "Conversation"},
    "search": {"nl": "Zoeken", "en": "Search"},
    "search_label": {"nl": "Zoek in alle berichten", "en": "Search in all messages"},
    "search_hint": {
        "nl": 'Alle woorden moeten voorkomen. OF, -woord en "een exacte woordgroep" kunnen ook.',
        "en": 'All words must occur. OR, -word and "a phrase" work too.',
    },
    "results": {"nl": "gevonden", "en": "found"},
    "no_results": {"nl": "Niets gevonden.", "en": "Nothing found."},
    "nothing_to_search": {"nl": "Geef ten minste één woord dat moet voorkomen.", "en": "Give at least one word that must occur."},
    "sign_in": {"nl": "Inloggen", "en": "Sign in"},
    "sign_out": {"nl": "Uitloggen", "en": "Sign out"},
    "signed_in_as": {"nl": "Ingelogd als", "en": "Signed in as"},
    "skip": {"nl": "Naar de inhoud", "en": "Skip to content"},
    "language": {"nl": "English", "en": "Nederlands"},
    "no_rooms": {"nl": "Er is nog geen gesprek gearchiveerd.", "en": "No conversation has been archived yet."},
    "messages": {"nl": "berichten", "en": "messages"},
    "last": {"nl": "Laatste bericht", "en": "Latest message"},
    "name": {"nl": "Naam", "en": "Name"},
    "state": {"nl": "Toestand", "en": "State"},
    "complete": {"nl": "Geen ontbrekende berichten bekend", "en": "No missing messages known"},
    "not_capturing": {
        "nl": "Er wordt nu niet gearchiveerd. Wat er intussen wordt gezegd, wordt opgehaald zodra het archief weer werkt.",
        "en": "Nothing is being archived now. What is said meanwhile is fetched as soon as the archive works again.",
    },
    "nothing_since": {
        "nl": "wat er sindsdien is gezegd, is niet gearchiveerd",
        "en": "what has been said since was not archived",
    },
    "fetching": {"nl": "Geschiedenis wordt opgehaald", "en": "History is being fetched"},
    "holes": {"nl": "ontbrekende berichten", "en": "missing messages"},
    "unreadable": {"nl": "niet leesbaar", "en": "unreadable"},
    "deleted": {"nl": "verwijderd", "en": "deleted"},
    "pruned": {"nl": "verwijderd vóór archivering", "en": "deleted before archiving"},
    "not_seated": {"nl": "Het archief is geen deelnemer meer", "en": "The archiver is no longer a member"},
    "no_notice": {"nl": "Melding nog niet bevestigd", "en": "Notice not confirmed yet"},
    "encrypted": {"nl": "versleuteld", "en": "encrypted"},
    "unencrypted": {"nl": "niet versleuteld", "en": "not encrypted"},
    "older": {"nl": "Oudere berichten", "en": "Older messages"},
    "newest": {"nl": "Nieuwste berichten", "en": "Newest messages"},
    "deleted_by": {"nl": "Verwijderd door", "en": "Deleted by"},
    "on": {"nl": "op", "en": "on"},
    "reason": {"nl": "reden", "en": "reason"},
    "original": {"nl": "Oorspronkelijke tekst", "en": "Original text"},
    "pruned_text": {
        "nl": "Dit bericht is verwijderd voordat het kon worden gearchiveerd. De tekst is niet bewaard.",
        "en": "This message was deleted before it could be archived. Its text was not kept.",
    },
    "edited": {"nl": "bewerkt", "en": "edited"},
    "earlier": {"nl": "Eerdere versies", "en": "Earlier versions"},
    "reply_to": {"nl": "Antwoord op", "en": "In reply to"},
    "reply_unknown": {"nl": "Antwoord op een bericht dat niet in het archief is", "en": "In reply to a message that is not in the archive"},
    "unreadable_text": {"nl": "Dit bericht kan (nog) niet worden gelezen", "en": "This message can't be read (yet)"},
    "no-key": {"nl": "de sleutel is niet ontvangen", "en": "its key was not received"},
    "key-starts-later": {"nl": "de sleutel geldt pas vanaf een later bericht", "en": "its key starts at a later message"},
    "malformed": {"nl": "het bericht is beschadigd", "en": "the message is damaged"},
    "wrong-key": {"nl": "de sleutel past niet", "en": "its key does not fit"},
    "unknown-algorithm": {"nl": "de versleuteling is van een onbekende soort", "en": "its encryption is of an unknown kind"},
    "withheld": {"nl": "de app van de afzender geeft de sleutel niet", "en": "the sender's app withholds its key"},
    "withheld:m.unverified": {
        "nl": "de app van de afzender geeft sleutels alleen aan geverifieerde apparaten en houdt het archief (nog) niet daarvoor",
        "en": "the sender's app gives keys to verified devices only, and does not (yet) count the archiver as one",
    },
    "withheld:m.blacklisted": {
        "nl": "de afzender heeft het apparaat van het archief geblokkeerd",
        "en": "the sender has blocked the archiver's device",
    },
    "withheld:m.unauthorised": {
        "nl": "volgens de app van de afzender mag het archief deze sleutel niet hebben, bijvoorbeeld omdat het toen geen deelnemer was",
        "en": "according to the sender's app the archiver may not have this key, for instance because it was no member then",
    },
    "withheld:m.unavailable": {
        "nl": "de app van de afzender heeft de sleutel zelf niet (meer)",
        "en": "the sender's app does not have the key itself (any more)",
    },
    "withheld:m.no_olm": {
        "nl": "tussen de app van de afzender en het archief kwam geen beveiligde verbinding tot stand",
        "en": "no secure channel between the sender's app and the archiver could be made",
    },
    "advice:no-key": {
        "nl": "Het archief vraagt de afzender om de sleutel; daarvoor moet diens app aanstaan.",
        "en": "The archiver asks the sender for the key; for that, their app must be running.",
    },
    "advice:key-starts-later": {
        "nl": "Vraag de afzender om het bericht opnieuw te sturen.",
        "en": "Ask the sender to send the message again.",
    },
    "advice:withheld:m.unverified": {
        "nl": "De beheerder ziet met 'griffier doctor' of het apparaat van het archief is ondertekend; vraag daarna de afzender om het "
        "bericht opnieuw te sturen.",
        "en": "An administrator sees with 'griffier doctor' whether the archiver's device is signed; then ask the sender to send the "
        "message again.",
    },
    "advice:withheld:m.blacklisted": {
        "nl": "Vraag de afzender om de blokkade op te heffen en het bericht opnieuw te sturen.",
        "en": "Ask the sender to lift the block and to send the message again.",
    },
    "advice:withheld:m.unauthorised": {
        "nl": "Ga na of het archief toen deelnemer was; zo ja, vraag de afzender om het bericht opnieuw te sturen.",
        "en": "Find out whether the archiver was a member then; if so, ask the sender to send the message again.",
    },
    "advice:withheld:m.unavailable": {
        "nl": "Een ander apparaat van de afzender heeft de sleutel misschien wel: vraag om dat aan te zetten.",
        "en": "Another device of the sender may have the key: ask them to switch it on.",
    },
    "advice:withheld:m.no_olm": {
        "nl": "Het archief maakt zelf een nieuwe verbinding; blijft dit zo, vraag de afzender dan om het bericht opnieuw te sturen.",
        "en": "The archiver makes a new channel by itself; if this stays, ask the sender to send the message again.",
    },
    "advice:withheld": {
        "nl": "Vraag de afzender waarom, en om het bericht opnieuw te sturen.",
        "en": "Ask the sender why, and to send the message again.",
    },
    "reactions": {"nl": "Reacties", "en": "Reactions"},
    "attachment": {"nl": "Bijlage", "en": "Attachment"},
    "attachment_waiting": {"nl": "wordt nog opgehaald", "en": "still being fetched"},
    "attachment_failed": {"nl": "kon niet worden opgehaald", "en": "could not be fetched"},
    "file_too-large": {
        "nl": "groter dan het archief bewaart; alleen dat het er was, is vastgelegd",
        "en": "larger than the archive keeps; only that it was there is recorded",
    },
    "file_altered": {
        "nl": "de inhoud klopt niet met het controlegetal van de afzender en is daarom niet bewaard",
        "en": "its content does not match the sender's checksum and was therefore not kept",
    },
    "file_bad-key": {"nl": "de sleutel van de afzender is onbruikbaar", "en": "the sender's key for it can't be used"},
    "file_bad-address": {"nl": "het bericht noemt geen geldig adres", "en": "the message gives no valid address"},
    "file_gone": {"nl": "de server heeft het bestand niet (meer)", "en": "the server does not have the file (any more)"},
    "file_refused": {"nl": "de server geeft het bestand niet", "en": "the server refuses to give the file"},
    "file_no-room": {"nl": "het archief heeft er nu geen ruimte voor", "en": "the archive has no room for it now"},
    "file_unreachable": {"nl": "de server antwoordt niet", "en": "the server does not answer"},
    "scan_waiting": {"nl": "wordt nog op virussen onderzocht", "en": "still being scanned for viruses"},
    "scan_infected": {
        "nl": "BESMET volgens de virusscanner en daarom niet getoond of opgenomen; het archief bewaart het bestand wel",
        "en": "INFECTED according to the virus scanner and therefore neither shown nor included; the archive does keep the file",
    },
    "infected": {"nl": "Dit bestand is besmet", "en": "This file is infected"},
    "infected_warning": {
        "nl": "De virusscanner vond hierin schadelijke software. Download het alleen als het voor uw werk nodig is, open het niet, "
        "en overleg met de beheerder. De download wordt vastgelegd.",
        "en": "The virus scanner found malicious software in it. Download it only if your work requires it, do not open it, and "
        "speak to your administrator. The download is recorded.",
    },
    "infected_download": {"nl": "Toch downloaden", "en": "Download nevertheless"},
    "infected_more": {"nl": "Waarschuwing lezen", "en": "Read the warning"},
    "not_scanned": {"nl": "Dit bestand wordt nog op virussen onderzocht", "en": "This file is still being scanned for viruses"},
    "attachment_not_included": {"nl": "niet in deze export opgenomen (te groot)", "en": "not included in this export (too large)"},
    "via": {"nl": "via", "en": "via"},
    "export_title": {"nl": "Uittreksel uit het archief", "en": "Extract from the archive"},
    "period": {"nl": "Periode", "en": "Period"},
    "whole_period": {"nl": "het hele gesprek", "en": "the whole conversation"},
    "from": {"nl": "vanaf", "en": "from"},
    "until": {"nl": "tot", "en": "until"},
    "made": {"nl": "Gemaakt", "en": "Made"},
    "by": {"nl": "door", "en": "by"},
    "organisation": {"nl": "Organisatie", "en": "Organisation"},
    "counts": {"nl": "Inhoud", "en": "Contents"},
    "members": {"nl": "Deelnemers", "en": "Members"},
    "zone": {"nl": "Alle tijden: Europe/Amsterdam", "en": "All times: Europe/Amsterdam"},
    "room_id": {"nl": "Kenmerk", "en": "Room id"},
    "partial": {
        "nl": "Dit is een deel van het gesprek, niet het geheel.",
        "en": "This is a part of the conversation, not the whole.",
    },
    "limits": {
        "nl": "Elk bericht verwijst naar de berichten ervoor. Ontbreekt er een, dan staat dat hierboven als ontbrekend bericht. "
        "Over het allerlaatste bericht, en over wat WhatsApp niet heeft afgeleverd, kan het archief zo niets bewijzen.",
        "en": "Each message refers to those before it. Where one is missing, it is counted above as a missing message. About the "
        "very last message, and about what WhatsApp did not deliver, the archive can prove nothing in this way.",
    },
    "beware": {"nl": "Let op:", "en": "Beware:"},
    "other-sender": {
        "nl": "dit bericht is versleuteld met een sleutel van een ander account dan dat van de afzender.",
        "en": "this message was encrypted with a key of another account than its sender's.",
    },
    "other-room": {
        "nl": "dit bericht is voor een ander gesprek geschreven en hier opnieuw geplaatst.",
        "en": "this message was written for another conversation and placed here again.",
    },
    "replayed": {
        "nl": "dit is een herhaling van de versleutelde tekst van een eerder bericht.",
        "en": "this repeats the encrypted text of an earlier message.",
    },
    "claimed-source": {
        "nl": "de afzender zegt dat dit bericht van buiten komt, maar is geen brug: de herkomst is niet overgenomen.",
        "en": "the sender says that this message comes from elsewhere but is no bridge: what it says of its origin was not taken over.",
    },
    "missing": {"nl": "Ontbreekt", "en": "Missing"},
    "missing_event": {"nl": "Ontbrekend bericht", "en": "Missing message"},
    "before": {"nl": "van vóór", "en": "of before"},
    "found_on": {"nl": "Ontdekt op", "en": "Found on"},
    "gap:searching": {"nl": "het wordt nog gezocht", "en": "it is still being looked for"},
    "gap:not-held": {"nl": "de homeserver heeft het niet", "en": "the homeserver does not have it"},
    "gap:withheld": {"nl": "de homeserver heeft het, maar geeft het niet", "en": "the homeserver has it, but does not give it"},
    "gap:refused": {"nl": "de homeserver geeft het niet", "en": "the homeserver does not give it"},
    "closed": {"nl": "Aaneengesloten tot en met", "en": "Nothing missing up to and including"},
    "closed_event": {"nl": "bericht", "en": "event"},
    "place": {"nl": "Plaats", "en": "Place"},
    "poll": {"nl": "Peiling", "en": "Poll"},
    "votes": {"nl": "Stemmen", "en": "Votes"},
    "poll_ended": {"nl": "Peiling gesloten op", "en": "Poll closed on"},
    "call": {"nl": "Oproep", "en": "Call"},
    "call.invite": {"nl": "Oproep begonnen", "en": "Call started"},
    "call.answer": {"nl": "Oproep aangenomen", "en": "Call answered"},
    "call.reject": {"nl": "Oproep geweigerd", "en": "Call declined"},
    "call.hangup": {"nl": "Oproep beëindigd", "en": "Call ended"},
    "kind": {"nl": "Soort", "en": "Type"},
    "withdrawn": {"nl": "ingetrokken", "en": "withdrawn"},
    "members_left": {"nl": "Eerder deelnemer", "en": "Formerly members"},
    "counts_whole": {"nl": "Het hele gesprek", "en": "The whole conversation"},
    "unseen": {"nl": "begint vóór de tijd van het archief in dit gesprek", "en": "begins before the archive's time in this conversation"},
    "end": {"nl": "Einde van het uittreksel", "en": "End of the extract"},
    "not_found": {"nl": "Niet gevonden", "en": "Not found"},
}  # fmt: skip


class Language:
    """Texts, dates and reasons in one language."""

    def __init__(self, code: str) -> None:
        self.code = code if code in LANGUAGES else "nl"
        self._words = translations(self.code)

    def __call__(self, name: str) -> str:
        return TEXTS[name][self.code]

    def gettext(self, text: str) -> str:
        """A text of the code in this language."""
        return self._words.gettext(text)

    def ngettext(self, one: str, many: str, count: int) -> str:
        """A text for a count in this language."""
        return self._words.ngettext(one, many, count)

    def day(self, moment: datetime) -> str:
        """The day as people write it, in the zone of the Netherlands."""
        local = moment.astimezone(ZONE)
        return f"{DAYS[self.code][local.weekday()]} {local.day} {MONTHS[self.code][local.month - 1]} {local.year}"

    def time(self, moment: datetime) -> str:
        return moment.astimezone(ZONE).strftime("%H:%M")

    def moment(self, moment: datetime) -> str:
        """Day and time with the offset from UTC, so that no reader has to guess."""
        local = moment.astimezone(ZONE).replace(microsecond=0)
        return f"{self.day(moment)} {local:%H:%M:%S} (UTC{local.isoformat()[-6:]})"

    def gap(self, cause: str | None) -> str:
        """Why something is missing."""
        name = f"gap:{cause or 'searching'}"
        return self(name) if name in TEXTS else f"{self('gap:refused')} ({cause})"

    def call(self, kind: str) -> str:
        """What happened in a call, by the type of the event that says so."""
        name = kind.removeprefix("m.")
        return self(name if name in TEXTS else "call")

    def reason(self, code: str) -> str:
        """Why a message can't be read."""
        kind = code if code in TEXTS else code.partition(":")[0]
        told = self(kind) if kind in TEXTS else code
        return f"{told} ({code.partition(':')[2]})" if code.startswith("withheld:") else told

    def advice(self, code: str) -> str:
        """What can be done about a message that can't be read; empty when nothing can."""
        kinds = [f"advice:{code}", f"advice:{code.partition(':')[0]}"]
        return next((self(kind) for kind in kinds if kind in TEXTS), "")

    def cause(self, code: str) -> str:
        """Why a channel was not covered."""
        return self(f"cause:{code}" if f"cause:{code}" in TEXTS else "cause:other")

    def duration(self, seconds: int) -> str:
        """A time as people set it: 7 days, 24 hours as 1 day, 90 seconds."""
        for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
            if seconds % length == 0 and seconds >= length:
                count = seconds // length
                return f"{count} {self(unit if count == 1 else unit + 's')}"
        return f"{seconds} {self('seconds')}"

    def file_problem(self, code: str) -> str:
        """Why a file is not there."""
        return self(f"file_{code}") if f"file_{code}" in TEXTS else code

    def size(self, count: int) -> str:
        """Bytes as people write them."""
        for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
            if count >= factor:
                number = f"{count / factor:.1f}"
                return f"{number.replace('.', ',') if self.code == 'nl' else number} {unit}"
        return f"{count} bytes"
