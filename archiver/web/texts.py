# ruff: noqa: E501 - one text per line
"""The words of signing in, roles and the audit trail; what the pages share with the exports is in archiver.export.language."""

from __future__ import annotations

from archiver.export.language import TEXTS as SHARED
from archiver.export.language import Language

TEXTS: dict[str, dict[str, str]] = {
    "sign_in_with": {"nl": "Inloggen met het account van uw organisatie", "en": "Sign in with your organisation's account"},
    "sign_in_about": {
        "nl": "U meldt zich aan bij uw eigen organisatie. Griffier krijgt uw wachtwoord niet te zien. Dat u inlogt en wat u bekijkt, wordt vastgelegd.",
        "en": "You sign in at your own organisation. Griffier does not see your password. That you sign in and what you look at is recorded.",
    },
    "signed_out": {"nl": "U bent uitgelogd", "en": "You are signed out"},
    "signing_out": {"nl": "U bent hier uitgelogd. U gaat nu verder naar uw organisatie om ook daar uit te loggen.", "en": "You are signed out here. You now go on to your organisation to sign out there too."},
    "sign_out_there": {"nl": "Uitloggen bij uw organisatie", "en": "Sign out at your organisation"},
    "close_browser": {"nl": "Sluit op een gedeelde computer ook de browser.", "en": "On a shared computer, close the browser too."},
    "sign_in_again": {"nl": "Opnieuw inloggen", "en": "Sign in again"},
    "refused": {"nl": "Geen toegang", "en": "No access"},
    "your_id": {"nl": "Uw kenmerk, voor de beheerder", "en": "Your identifier, for the administrator"},
    "hint": {"nl": "Melding van de aanbieder", "en": "The provider's message"},
    # Why somebody is refused, each with what to do.
    "why:expired_attempt": {
        "nl": "Deze inlogpoging is verlopen, al gebruikt of in een andere browser begonnen. Log opnieuw in; gebruik geen bewaarde link.",
        "en": "This sign-in has expired, was used already, or began in another browser. Sign in again; do not use a saved link.",
    },
    "why:denied": {
        "nl": "Het inloggen is bij uw organisatie afgebroken of geweigerd. Probeer het opnieuw; lukt het niet, vraag daar of u deze toepassing mag gebruiken.",
        "en": "The sign-in was cancelled or refused at your organisation. Try again; if it fails, ask there whether you may use this application.",
    },
    "why:provider_error": {
        "nl": "De inlogvoorziening van uw organisatie meldt een fout. Probeer het over een paar minuten opnieuw; geef anders de melding hieronder aan de beheerder.",
        "en": "Your organisation's sign-in service reports an error. Try again in a few minutes; otherwise give the message below to the administrator.",
    },
    "why:provider_unreachable": {
        "nl": "De inlogvoorziening van uw organisatie antwoordt niet. Probeer het over een paar minuten opnieuw. De beheerder vindt de oorzaak in het logboek.",
        "en": "Your organisation's sign-in service does not answer. Try again in a few minutes. The administrator finds the cause in the log.",
    },
    "why:provider_wrong": {
        "nl": "De inlogvoorziening is niet goed ingesteld. Vraag de beheerder om web.oidc na te gaan; het logboek noemt de oorzaak.",
        "en": "The sign-in service is not set up correctly. Ask the administrator to check web.oidc; the log names the cause.",
    },
    "why:code_refused": {
        "nl": "De inlogvoorziening nam de afronding niet aan. Log opnieuw in; blijft dit zo, vraag de beheerder om het wachtwoord en het adres van deze toepassing bij de aanbieder na te gaan.",
        "en": "The sign-in service did not accept the last step. Sign in again; if this stays, ask the administrator to check this application's secret and address at the provider.",
    },
    "why:bad_token": {
        "nl": "De inloggegevens die uw organisatie stuurde, konden niet worden gecontroleerd. Log opnieuw in; blijft dit zo, meld het de beheerder: het logboek noemt de oorzaak.",
        "en": "What your organisation sent about you could not be verified. Sign in again; if this stays, tell the administrator: the log names the cause.",
    },
    "why:not_fresh": {
        "nl": "Voor het archief moet u net en met de vereiste zekerheid zijn ingelogd. Log bij uw organisatie uit en hier opnieuw in, met het voorgeschreven inlogmiddel.",
        "en": "For the archive you must have signed in just now, with the required assurance. Sign out at your organisation and sign in here again, by the prescribed means.",
    },
    "why:no_person": {
        "nl": "Uw organisatie stuurde niet mee wie u bent. Vraag de beheerder om web.oidc.person_claim na te gaan.",
        "en": "Your organisation did not send who you are. Ask the administrator to check web.oidc.person_claim.",
    },
    "why:other_organisation": {
        "nl": "Dit archief is van een andere organisatie. Log in met een account van deze organisatie, of vraag de beheerder om toegang.",
        "en": "This archive is another organisation's. Sign in with an account of this organisation, or ask the administrator for access.",
    },
    "why:no_roles": {
        "nl": "U hebt in dit archief geen rol. Vraag de beheerder om een rol; geef daarbij het kenmerk hieronder door.",
        "en": "You have no role in this archive. Ask the administrator for one, and pass on the identifier below.",
    },
    "why:no_matrix_id": {
        "nl": "Niet bekend is welk chataccount van u is, dus ook niet welke gesprekken. Vraag de beheerder om uw Matrix-account bij uw rol te zetten.",
        "en": "It is not known which chat account is yours, so neither which conversations. Ask the administrator to add your Matrix account to your role.",
    },
    "why:not_yours": {
        "nl": "Uw rol geeft geen toegang tot deze pagina. Hebt u die voor uw werk nodig, vraag het dan aan de beheerder. Dat dit is geweigerd, is vastgelegd.",
        "en": "Your role gives no access to this page. If you need it for your work, ask the administrator. That this was refused is recorded.",
    },
    "why:forged": {
        "nl": "Dit formulier kwam niet van deze site, of is verlopen. Ga terug, laad de pagina opnieuw en probeer het nog eens.",
        "en": "This form did not come from this site, or has expired. Go back, load the page again and retry.",
    },
    "why:too_many": {
        "nl": "Er wordt vanaf uw adres te vaak ingelogd. Wacht een minuut en probeer het opnieuw.",
        "en": "There are too many sign-ins from your address. Wait a minute and try again.",
    },
    "why:not_configured": {
        "nl": "Inloggen is nog niet ingesteld. De beheerder vult web.oidc in (zie config/griffier.yaml).",
        "en": "Signing in has not been set up. The administrator fills in web.oidc (see config/griffier.yaml).",
    },
    "why:apart:auditor": {
        "nl": "U hebt twee rollen die niet samengaan: wie het auditspoor leest, leest of beheert verder niets. Vraag de beheerder om een van beide in te trekken.",
        "en": "You have two roles that exclude each other: who reads the audit trail reads or manages nothing else. Ask the administrator to take one of them back.",
    },
    "why:apart:admin": {
        "nl": "U hebt twee rollen die niet samengaan: wie rollen toekent, leest geen gesprekken. Vraag een andere beheerder om een van beide in te trekken.",
        "en": "You have two roles that exclude each other: who gives roles does not read conversations. Ask another administrator to take one of them back.",
    },
    "why:apart:inspector": {
        "nl": "U hebt twee rollen die niet samengaan: wie toezicht houdt op het werk, doet het niet zelf. Vraag de beheerder om een van beide in te trekken.",
        "en": "You have two roles that exclude each other: who inspects the work does not do it. Ask the administrator to take one of them back.",
    },
    "health": {"nl": "Toestand", "en": "Health"},
    "capturing_now": {"nl": "Er wordt gearchiveerd.", "en": "Messages are being archived."},
    "alarms": {"nl": "Alarmen", "en": "Alarms"},
    "no_alarms": {"nl": "Er is geen alarm.", "en": "There is no alarm."},
    "seats": {"nl": "Archiefaccounts", "en": "Archiver accounts"},
    "never_started": {"nl": "Er is nog geen archiefproces gestart.", "en": "No archiver has been started yet."},
    "last_sync": {"nl": "Laatst bijgewerkt", "en": "Last sync"},
    "people": {"nl": "Personen en rollen", "en": "People and roles"},
    "given_roles": {"nl": "Toegekende rollen", "en": "Roles given"},
    "given_about": {
        "nl": "Rollen kunnen ook van de inlogvoorziening komen; die staan bij wie nu is ingelogd en worden daar beheerd.",
        "en": "Roles may also come from the sign-in service; those are shown with who is signed in now, and are managed there.",
    },
    "nothing_given": {"nl": "Er is nog geen rol toegekend.", "en": "No role has been given yet."},
    "give_role": {"nl": "Rol toekennen", "en": "Give a role"},
    "give": {"nl": "Toekennen", "en": "Give"},
    "take": {"nl": "Intrekken", "en": "Take back"},
    "person": {"nl": "Persoon", "en": "Person"},
    "person_hint": {"nl": "Het kenmerk dat de inlogpagina en het auditspoor tonen.", "en": "The identifier that the sign-in page and the audit trail show."},
    "role": {"nl": "Rol", "en": "Role"},
    "matrix_id": {"nl": "Matrix-account", "en": "Matrix account"},
    "matrix_hint": {"nl": "Alleen bij de rol ambtsdrager, bijvoorbeeld @minister:rijk.example.", "en": "For the role official only, for example @minister:rijk.example."},
    "why": {"nl": "Reden", "en": "Reason"},
    "since": {"nl": "Sinds", "en": "Since"},
    "given_by": {"nl": "Door", "en": "By"},
    "signed_in_now": {"nl": "Nu ingelogd", "en": "Signed in now"},
    "end_session": {"nl": "Uitloggen", "en": "Sign out"},
    "seen": {"nl": "Laatst gezien", "en": "Last seen"},
    "changes": {"nl": "Geschiedenis", "en": "History"},
    "gave": {"nl": "toegekend", "en": "given"},
    "took": {"nl": "ingetrokken", "en": "taken back"},
    "not_done": {"nl": "Niet gedaan", "en": "Not done"},
    "role:official": {"nl": "ambtsdrager", "en": "official"},
    "role:records-officer": {"nl": "archivaris", "en": "records officer"},
    "role:advisor": {"nl": "adviseur", "en": "advisor"},
    "role:admin": {"nl": "beheerder", "en": "admin"},
    "role:inspector": {"nl": "inspecteur", "en": "inspector"},
    "role:auditor": {"nl": "auditor", "en": "auditor"},
    "trail": {"nl": "Auditspoor", "en": "Audit trail"},
    "trail_about": {
        "nl": "Wie wat heeft bekeken, gezocht, geëxporteerd of gewijzigd, wie inlogde en wie werd geweigerd. Ook dat u dit leest, wordt vastgelegd.",
        "en": "Who looked at, searched, exported or changed what, who signed in and who was refused. That you read this is recorded too.",
    },
    "action": {"nl": "Handeling", "en": "Act"},
    "any_action": {"nl": "alle handelingen", "en": "all acts"},
    "from_day": {"nl": "Vanaf (dag)", "en": "From (day)"},
    "to_day": {"nl": "Tot en met (dag)", "en": "Up to and including (day)"},
    "filter": {"nl": "Tonen", "en": "Show"},
    "download_csv": {"nl": "Downloaden als CSV", "en": "Download as CSV"},
    "when": {"nl": "Wanneer", "en": "When"},
    "what": {"nl": "Wat", "en": "What"},
    "details": {"nl": "Bijzonderheden", "en": "Details"},
    "earlier_acts": {"nl": "Eerdere handelingen", "en": "Earlier acts"},
    "nothing_found": {"nl": "Niets gevonden in deze selectie.", "en": "Nothing found in this selection."},
    "bad_filter": {"nl": "De datum is niet te lezen. Schrijf hem als 2026-03-31.", "en": "The date can't be read. Write it as 2026-03-31."},
    "act:list rooms": {"nl": "lijst van gesprekken bekeken", "en": "looked at the list of conversations"},
    "act:list channels": {"nl": "kanalen bekeken", "en": "looked at the channels"},
    "act:read": {"nl": "gesprek gelezen", "en": "read a conversation"},
    "act:file": {"nl": "bestand geopend", "en": "opened a file"},
    "act:search": {"nl": "gezocht", "en": "searched"},
    "act:search results": {"nl": "zoekresultaten gezien", "en": "saw search results"},
    "act:export": {"nl": "geëxporteerd", "en": "exported"},
    "act:recovery key": {"nl": "herstelsleutel getoond", "en": "saw the recovery key"},
    "act:sign in": {"nl": "ingelogd", "en": "signed in"},
    "act:sign out": {"nl": "uitgelogd", "en": "signed out"},
    "act:signed out by provider": {"nl": "uitgelogd door de inlogvoorziening", "en": "signed out by the sign-in service"},
    "act:session ended": {"nl": "sessie beëindigd", "en": "ended a session"},
    "act:sign-in refused": {"nl": "inloggen geweigerd", "en": "sign-in refused"},
    "act:refused": {"nl": "toegang geweigerd", "en": "access refused"},
    "act:grant role": {"nl": "rol toegekend", "en": "gave a role"},
    "act:revoke role": {"nl": "rol ingetrokken", "en": "took a role back"},
    "act:read audit trail": {"nl": "auditspoor gelezen", "en": "read the audit trail"},
    "act:export audit trail": {"nl": "auditspoor geëxporteerd", "en": "exported the audit trail"},
    "act:list people": {"nl": "personen en rollen bekeken", "en": "looked at people and roles"},
}  # fmt: skip


class PageLanguage(Language):
    """The words of pages, and those that they share with exports."""

    def __call__(self, name: str) -> str:
        if name not in TEXTS and name not in SHARED:
            return self.gettext(name)
        return (TEXTS if name in TEXTS else SHARED)[name][self.code]

    def act(self, action: str) -> str:
        """An act of the audit trail in words."""
        return self(f"act:{action}") if f"act:{action}" in TEXTS else action
