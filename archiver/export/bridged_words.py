"""What bridges say, in words: why a channel was not covered, why a message was not carried over, what became of one.

The Dutch ones are in archiver/locale/nl/bridged.po.
"""

from archiver.export.catalogue import N_

CAUSES = {
    "webhook-silent": N_("the network told the bridge nothing any more"),
    "bridge-down": N_("the bridge was down"),
    "disconnected": N_("the number was disconnected"),
    "paused": N_("the admin had paused it"),
    "token-refused": N_("the network refused the bridge's token"),
    "history-refused": N_("the earlier history was not shared"),
    "not-connected": N_("the number was not connected yet"),
}
LACKING = {
    "bridge:undecryptable": N_("the bridge could not decrypt it and waits for the sender to send it again"),
    "bridge:view-once": N_("it was to be viewed once and could be opened on the phone only"),
    "bridge:failed-media": N_("the bridge could not fetch the file"),
    "bridge:unsupported": N_("the bridge can't show this kind of message"),
}
ADVICE = {
    "bridge:undecryptable": N_("Ask the official to look on the phone whether it can be read there."),
    "bridge:view-once": N_("Ask the official what it said."),
    "bridge:failed-media": N_("Ask the official for the file on the phone."),
    "bridge:unsupported": N_("Ask the official to look at it on the phone."),
}
DELIVERIES = {
    "pending": N_("on its way"),
    "sent": N_("sent"),
    "delivered": N_("delivered"),
    "read": N_("read"),
    "played": N_("played"),
    "stayed": N_("stayed in Matrix"),
    "failed": N_("NOT delivered"),
}
