"""The acts of the audit trail in words. The Dutch ones are in archiver/locale/nl/trail.po."""

from archiver.export.catalogue import N_

ACTS = {
    "list rooms": N_("looked at the list of conversations"),
    "list channels": N_("looked at the channels"),
    "read": N_("read a conversation"),
    "file": N_("opened a file"),
    "search": N_("searched"),
    "search results": N_("saw search results"),
    "export": N_("exported"),
    "recovery key": N_("saw the recovery key"),
    "sign in": N_("signed in"),
    "sign out": N_("signed out"),
    "signed out by provider": N_("signed out by the sign-in service"),
    "session ended": N_("ended a session"),
    "sign-in refused": N_("sign-in refused"),
    "refused": N_("access refused"),
    "grant role": N_("gave a role"),
    "revoke role": N_("took a role back"),
    "read audit trail": N_("read the audit trail"),
    "export audit trail": N_("exported the audit trail"),
    "make token": N_("made an access token for programs"),
    "revoke token": N_("revoked an access token"),
    "list people": N_("looked at people and roles"),
}
