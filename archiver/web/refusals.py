# ruff: noqa: E501 - one text per line
"""Why somebody may not sign in or see a page, each with what to do. The Dutch texts are in archiver/locale/nl/signing_in.po."""

from archiver.export.catalogue import N_

WHY = {
    "expired_attempt": N_(
        "This sign-in has expired, was used already, or began in another browser. Sign in again; do not use a saved link."
    ),
    "denied": N_(
        "The sign-in was cancelled or refused at your organisation. Try again; if it fails, ask there whether you may use this application."
    ),
    "provider_error": N_(
        "Your organisation's sign-in service reports an error. Try again in a few minutes; otherwise give the message below to the administrator."
    ),
    "provider_unreachable": N_(
        "Your organisation's sign-in service does not answer. Try again in a few minutes. The administrator finds the cause in the log."
    ),
    "provider_wrong": N_(
        "The sign-in service is not set up correctly. Ask the administrator to check web.oidc; the log names the cause."
    ),
    "code_refused": N_(
        "The sign-in service did not accept the last step. Sign in again; if this stays, ask the administrator to check this application's secret and address at the provider."
    ),
    "bad_token": N_(
        "What your organisation sent about you could not be verified. Sign in again; if this stays, tell the administrator: the log names the cause."
    ),
    "not_fresh": N_(
        "For the archive you must have signed in just now, with the required assurance. Sign out at your organisation and sign in here again, by the prescribed means."
    ),
    "no_person": N_("Your organisation did not send who you are. Ask the administrator to check web.oidc.person_claim."),
    "other_organisation": N_(
        "This archive is another organisation's. Sign in with an account of this organisation, or ask the administrator for access."
    ),
    "no_roles": N_("You have no role in this archive. Ask the administrator for one, and pass on the identifier below."),
    "no_matrix_id": N_(
        "It is not known which chat account is yours, so neither which conversations. Ask the administrator to add your Matrix account to your role."
    ),
    "not_yours": N_(
        "Your role gives no access to this page. If you need it for your work, ask the administrator. That this was refused is recorded."
    ),
    "forged": N_("This form did not come from this site, or has expired. Go back, load the page again and retry."),
    "too_many": N_("There are too many sign-ins from your address. Wait a minute and try again."),
    "not_configured": N_("Signing in has not been set up. The administrator fills in web.oidc (see config/griffier.yaml)."),
    "apart:auditor": N_(
        "You have two roles that exclude each other: who reads the audit trail reads or manages nothing else. Ask the administrator to take one of them back."
    ),
    "apart:admin": N_(
        "You have two roles that exclude each other: who gives roles does not read conversations. Ask another administrator to take one of them back."
    ),
    "apart:inspector": N_(
        "You have two roles that exclude each other: who inspects the work does not do it. Ask the administrator to take one of them back."
    ),
}
