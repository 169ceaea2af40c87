# ruff: noqa: E501 - one text per line
"""Why a message or a file can't be shown, what is missing, what to beware of: the codes of the archive in words.

The Dutch ones are in archiver/locale/nl/export.po.
"""

from archiver.export.catalogue import N_

UNREADABLE = {
    "no-key": N_("its key was not received"),
    "key-starts-later": N_("its key starts at a later message"),
    "malformed": N_("the message is damaged"),
    "wrong-key": N_("its key does not fit"),
    "unknown-algorithm": N_("its encryption is of an unknown kind"),
    "withheld": N_("the sender's app withholds its key"),
    "withheld:m.unverified": N_(
        "the sender's app gives keys to verified devices only, and does not (yet) count the archiver as one"
    ),
    "withheld:m.blacklisted": N_("the sender has blocked the archiver's device"),
    "withheld:m.unauthorised": N_(
        "according to the sender's app the archiver may not have this key, for instance because it was no member then"
    ),
    "withheld:m.unavailable": N_("the sender's app does not have the key itself (any more)"),
    "withheld:m.no_olm": N_("no secure channel between the sender's app and the archiver could be made"),
}
ADVICE = {
    "no-key": N_("The archiver asks the sender for the key; for that, their app must be running."),
    "key-starts-later": N_("Ask the sender to send the message again."),
    "withheld:m.unverified": N_(
        "An administrator sees with 'griffier doctor' whether the archiver's device is signed; then ask the sender to send the message again."
    ),
    "withheld:m.blacklisted": N_("Ask the sender to lift the block and to send the message again."),
    "withheld:m.unauthorised": N_(
        "Find out whether the archiver was a member then; if so, ask the sender to send the message again."
    ),
    "withheld:m.unavailable": N_("Another device of the sender may have the key: ask them to switch it on."),
    "withheld:m.no_olm": N_(
        "The archiver makes a new channel by itself; if this stays, ask the sender to send the message again."
    ),
    "withheld": N_("Ask the sender why, and to send the message again."),
}
GAPS = {
    "searching": N_("it is still being looked for"),
    "not-held": N_("the homeserver does not have it"),
    "withheld": N_("the homeserver has it, but does not give it"),
    "refused": N_("the homeserver does not give it"),
}
DOUBTS = {
    "other-sender": N_("this message was encrypted with a key of another account than its sender's."),
    "other-room": N_("this message was written for another conversation and placed here again."),
    "replayed": N_("this repeats the encrypted text of an earlier message."),
    "claimed-source": N_(
        "the sender says that this message comes from elsewhere but is no bridge: what it says of its origin was not taken over."
    ),
}
# By the codes of archiver.capture.media.
FILES = {
    "too-large": N_("larger than the archive keeps; only that it was there is recorded"),
    "altered": N_("its content does not match the sender's checksum and was therefore not kept"),
    "bad-key": N_("the sender's key for it can't be used"),
    "bad-address": N_("the message gives no valid address"),
    "gone": N_("the server does not have the file (any more)"),
    "refused": N_("the server refuses to give the file"),
    "no-room": N_("the archive has no room for it now"),
    "unreachable": N_("the server does not answer"),
}
CALLS = {
    "m.call.invite": N_("Call started"),
    "m.call.answer": N_("Call answered"),
    "m.call.reject": N_("Call declined"),
    "m.call.hangup": N_("Call ended"),
}
