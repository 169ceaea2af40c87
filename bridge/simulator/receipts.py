"""What becomes of a message that a business sent: sent, delivered, read, played, failed."""

from __future__ import annotations

import asyncio

from bridge.simulator import bodies
from bridge.simulator.errors import GraphError
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import Contact, Message, World

STATES = ("", "sent", "delivered", "read", "played")  # each includes those before it


class Receipts:
    """Tells businesses the statuses of their messages."""

    def __init__(self, world: World, webhook: Webhook) -> None:
        self._world = world
        self._webhook = webhook

    async def follow(self, message: Message) -> None:
        """Let a message go as far as its receiver's phone takes it by itself."""
        reached = self._reach(message)
        for state in ("sent", "delivered", "read"):
            skipped = state == "delivered" and reached == "read" and self._world.knobs.skip_delivered
            if STATES.index(state) <= STATES.index(reached) and not skipped:
                await asyncio.sleep(self._world.knobs.status_delay)
                await self.report(message, state)

    def _reach(self, message: Message) -> str:
        knob: str = self._world.knobs.receipts
        if message.chat not in self._world.groups:
            person = self._world.contacts[message.chat]
            knob = person.receipts or knob
        return "" if knob == "none" else knob

    async def report(self, message: Message, state: str, error: GraphError | None = None, who: Contact | None = None) -> None:
        """Tell one status, unless it was told; in a group of everybody, or of `who`. Returns when it has been delivered."""
        if message.chat in self._world.groups:
            people = self._participants(message, state, who)
            if not people:
                return
        elif message.status == "failed" or STATES.index(message.status) >= (STATES.index(state) if state in STATES else 99):
            return
        else:
            people = [self._world.contacts[message.chat]]
        if state == "failed" or STATES.index(state) > STATES.index(message.status):
            message.status = state
        message.error = str(error) if error else ""
        account = self._world.account_of(message.number_id)
        told = [bodies.status(self._world, account, message, state, person, error) for person in people]
        parts = {"statuses": told}
        known = [bodies.contact(person, account.portfolio) for person in people if person is not None and state != "failed"]
        value = bodies.value(self._world.number(message.number_id), **({"contacts": known} if known else {}), **parts)
        self._world.changed(message.chat)
        await self._webhook.emit(account, "messages", value).done.wait()

    def _participants(self, message: Message, state: str, who: Contact | None) -> list[Contact | None]:
        """Whose status it is in a group: the group's own while it is sent or fails, then everybody's together or one person's."""
        if state in ("sent", "failed"):
            return [None]
        group = self._world.groups[message.chat]
        people = [self._world.contacts[wa_id] for wa_id in group.participants if who is None or wa_id == who.wa_id]
        fresh = [person for person in people if f"{state} {person.wa_id}" not in message.read_by]
        message.read_by |= {f"{state} {person.wa_id}" for person in fresh}
        return list[Contact | None](fresh)
