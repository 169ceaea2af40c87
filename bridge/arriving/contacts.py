"""What the business phone says of its contacts, carried over into the names of the official's own rooms."""

from __future__ import annotations

from bridge.arriving.address_book import AddressBook
from bridge.arriving.meeting import Meeting
from bridge.network import ContactSynced
from bridge.numbers import Numbers


class Contacts:
    """Carries over what the business phone says of its contacts."""

    def __init__(self, numbers: Numbers, address_book: AddressBook, meeting: Meeting) -> None:
        self._numbers = numbers
        self._address_book = address_book
        self._meeting = meeting

    async def carry(self, contact: ContactSynced) -> str:
        """Note a contact, and name this official's own conversation with them so."""
        await self._address_book.keep(contact, self._numbers.official(contact.number_id))
        await self._meeting.rename(contact.number_id, contact.wa_id)
        return "done"
