"""What failed, as conditions on the queues: one definition for who counts it, lists it, rings for it and tries it again.

It is what was not carried over, can still be tried again, and of which no room was told what is final: a reaction to a message
from before the connection is said in its room once, and then nobody has anything to do about it any more.
"""

TOLD = """
    EXISTS (SELECT FROM carried WHERE split_part(inbox.dedupe, '|', 1) IN ('message', 'history')
            AND carried.number_id = split_part(inbox.dedupe, '|', 2)
            AND carried.message_id = substr(inbox.dedupe, length(split_part(inbox.dedupe, '|', 1))
                                                          + length(split_part(inbox.dedupe, '|', 2)) + 3))
"""
# Left as it is, by an error of its own, of WhatsApp's or of ours; by its name an admin can have any of it tried again.
NOT_CARRIED = "state IN ('kept', 'failed') AND problem IS NOT NULL AND sealed IS NOT NULL"
OUT = NOT_CARRIED
IN = f"{NOT_CARRIED} AND NOT (state = 'kept' AND {TOLD})"
# Of deliveries that were set aside.
REJECTED = "retried_at IS NULL AND sealed IS NOT NULL"
