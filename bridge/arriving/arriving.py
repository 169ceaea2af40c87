"""What comes from WhatsApp, carried over into the room of its conversation."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge import attachments
from bridge.accounts import Accounts
from bridge.arriving import rendering
from bridge.arriving.fetching import Files
from bridge.arriving.meeting import Meeting, Place
from bridge.arriving.missing import Missing, MissingFiles
from bridge.arriving.rendering import MISSING_FILE, PROFILE, SOURCE, Words, milliseconds
from bridge.network import Handlers, Incoming, Media, Named, Network, NetworkError, NotUnderstood, NotYet
from bridge.numbers import Numbers
from bridge.portal.portal import Portals
from bridge.relay.relay import Relay
from bridge.settings import Bridge

log = logging.getLogger(__name__)

NOT_CARRIED = (
    "Een WhatsApp-bericht van het soort “{kind}” kon niet worden overgebracht; het is wel bewaard. Vraag uw beheerder. · "
    "A WhatsApp message of type “{kind}” could not be carried over; it has been kept. Ask your admin."
)
PAYLOAD = "De gegevens van WhatsApp bij dit bericht · WhatsApp's data of this message"
FORMER_ROOM = "De geschiedenis staat in een eerdere kamer · Its history is in a former room"


class Arriving:
    """Carries changes over, one at a time in a conversation."""

    def __init__(
        self,
        settings: Bridge,
        numbers: Numbers,
        accounts: Accounts,
        portals: Portals,
        relay: Relay,
        network: Network,
        meeting: Meeting,
        files: Files,
        late: MissingFiles,
        handlers: Handlers,
    ) -> None:
        self._settings = settings
        self._numbers = numbers
        self._accounts = accounts
        self._portals = portals
        self._relay = relay
        self._network = network
        self._meeting = meeting
        self._files = files
        self._late = late
        self._handlers = handlers

    async def carry(self, change: dict[str, Any]) -> str:
        """Carry one change over. Raises NotUnderstood, NotYet, NetworkError, MatrixRequestError."""
        if (told := self._network.told(change)) is not None:
            await self._relay.told(*told)
        said = self._network.read(change)
        if not isinstance(said, Incoming):
            handler = self._handlers.get(type(said))
            return await handler(said) if handler is not None else "kept"
        if said.media is not None and self._numbers.of(said.number_id) is not None:
            self._files.begin(said.number_id, said.media)  # its address expires: before anything else
        if await self._relay.event_of(said.number_id, said.message_id):
            late = await self._late.of(said.number_id, said.message_id) if said.kind == "media" else None
            if late is not None and late.sealed is None:  # the file of a message that history told without it
                await self.fill(change, late, last=False)
                await self._late.done(late)
            return "done"  # before a crash, all but the last step was done
        place = await self._meeting.place(said)
        try:
            event_id = await self._say(place, said, change)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404) or await self._portals.is_there(place.room_id):
                raise
            log.warning("The room %s is gone: its conversation goes on in a new one.", place.room_id)
            await self._portals.close(place.room_id)
            raise NotYet("de kamer bestaat niet meer · the room is gone") from None
        if event_id:
            await self._relay.carried(said.number_id, said.message_id, place.room_id, event_id)
        if said.media is not None:
            await self._files.forget(said.number_id, said.media)
        return "done"

    async def not_carried(self, change: dict[str, Any], reason: str) -> None:
        """Tell the people in the room what could not be carried over as it is, with what of it there is."""
        try:
            said = self._network.read(change)
        except NotUnderstood:
            return  # no conversation can be told: it is kept in the inbox, and counted at /healthz
        if not isinstance(said, Incoming):
            return
        place = await self._meeting.place(said)
        txn = _txn("wa-not", said)
        if said.kind in ("edit", "revoke", "reaction"):
            alone = rendering.without_original(said)
            kind, content = await self._content(place, alone, await self._words(place, alone), change)
        else:
            notice, text = NOT_CARRIED.format(kind=said.network_type), rendering.beginning(said.text)
            kind, content = "m.room.message", {"msgtype": "m.notice", **Words(text).under(notice).content()}
        event_id = await self._post(place, said, kind, content, txn)
        await self._relay.carried(said.number_id, said.message_id, place.room_id, event_id)

    async def fill(self, change: dict[str, Any], late: Missing, last: bool) -> None:
        """Show the file of a message that was shown without it; the `last` time, or where it is final, say that there is none.

        Raises NetworkError when it is to be tried again.
        """
        said = self._network.read(change)
        if not isinstance(said, Incoming) or said.media is None:
            return
        place = replace(await self._meeting.place(said), room_id=late.room_id)
        words = await self._words(place, said)
        try:
            kind, content = await self._with_file(place, said, words)
        except NetworkError as error:
            if not error.final and not (last and error.scope == "message"):
                raise
            kind, content = "m.room.message", rendering.missing(said, words, "given-up", str(error))
        kind = "m.room.message" if kind == "m.sticker" else kind  # an edit can't make another type of event of it
        content.setdefault("msgtype", "m.image")
        content = self._attributed(place, said, content)
        if await self._sender_of(late.room_id, late.event_id) == place.sender.user_id:
            content = rendering.replacing(content, late.event_id, filled=True)
        else:  # who said it has proved to be somebody else's ghost by now
            content |= {"m.relates_to": {"m.in_reply_to": {"event_id": late.event_id}}}
        await self._post(place, said, kind, content, _txn(f"wa-file-{late.attempts}", said))
        await self._files.forget(said.number_id, said.media)

    async def _say(self, place: Place, said: Incoming, change: dict[str, Any]) -> str:
        target = await self._target(said) if said.target else None
        if said.kind in ("revoke", "reaction", "edit") and target is not None and target[0] != place.room_id:
            said, target = rendering.without_original(replace(said, beside=(*said.beside, FORMER_ROOM))), None
        txn = _txn("wa", said)
        if said.kind == "revoke" and target is not None:
            return await self._revoke(place, said, target[1], txn)
        if said.kind == "reaction":
            return await self._react(place, said, target[1] if target else None, txn)
        kind, content = await self._content(place, said, await self._words(place, said), change)
        if said.kind == "edit" and target is not None:
            content = await self._edited(place, content, target)
        else:
            content |= await self._answer(place, said)
        event_id = await self._post(place, said, kind, content, txn)
        if rendering.too_large(said):
            await self._post_payload(place, said, event_id)
        state = content.get(MISSING_FILE, {}).get("state")
        if state in ("history", "waiting") and said.kind != "edit":
            again = change if state == "waiting" else None
            await self._late.add(said.number_id, said.message_id, (place.room_id, event_id), again)
        await self._meeting.after(place, said)
        return event_id

    async def _answer(self, place: Place, said: Incoming) -> dict[str, Any]:
        """The relation of a reply to what it answers, where that is in this room."""
        answered = await self._portals.place_of(said.number_id, said.reply_to) if said.reply_to else None
        if answered is None or answered[0] != place.room_id:
            return {}
        return {"m.relates_to": {"m.in_reply_to": {"event_id": answered[1]}}}

    async def _target(self, said: Incoming) -> tuple[str, str]:
        """(room, event) of the message that this is about. Raises NotYet when it has not come yet."""
        target = await self._portals.place_of(said.number_id, said.target)
        if target is None:
            told = "het bericht waar dit over gaat is er niet · the message that this is about is not there"
            raise NotYet(told, awaits=said.target)
        return target

    async def _edited(self, place: Place, content: dict[str, Any], target: tuple[str, str]) -> dict[str, Any]:
        """The content of an edit: only who said something can change it, anybody else says it anew in reply."""
        if await self._sender_of(*target) == place.sender.user_id:
            return rendering.replacing(content, target[1])
        words = Words(str(content.get("body", "")), content.get("formatted_body")).under(rendering.EDITED)
        return content | words.content() | {"m.relates_to": {"m.in_reply_to": {"event_id": target[1]}}}

    async def _revoke(self, place: Place, said: Incoming, target: str, txn: str) -> str:
        """A deletion: by who said it, or else by the bot in the name of who did it: an official on the phone, a group's admin."""
        body: dict[str, Any] = {SOURCE: self._source(place, said)}
        own = await self._sender_of(place.room_id, target) == place.sender.user_id
        if not own:
            by = place.speaker or place.name
            body["reason"] = f"Op WhatsApp verwijderd door {by} · Deleted on WhatsApp by {by}"
        sender = place.sender if own else self._accounts.bot
        where = Path.v3.rooms[place.room_id].redact[target][txn]
        answer = await sender.call(Method.PUT, where, body, {"ts": str(_at(said))})
        return str(answer["event_id"])

    async def _react(self, place: Place, said: Incoming, target: str | None, txn: str) -> str:
        """Somebody has at most one reaction to a message: the one before is withdrawn, and so it is by an empty one."""
        who, event_id = (said.number_id, said.target, place.sender.user_id), None
        before = await self._relay.reaction_of(*who)
        if target is not None and said.text:
            relation = {"rel_type": "m.annotation", "event_id": target, "key": said.text}
            # Reactions go unencrypted, as in every client (specification, m.reaction): servers must count them.
            content = self._attributed(place, said, {"m.relates_to": relation, SOURCE: self._source(place, said)})
            event_id = await place.sender.send(place.room_id, "m.reaction", content, txn, _at(said))
        if before is not None and before != event_id:
            where = Path.v3.rooms[place.room_id].redact[before][f"{txn}-before"]
            await place.sender.call(Method.PUT, where, {SOURCE: self._source(place, said)}, {"ts": str(_at(said))})
        await self._relay.keep_reaction(*who, event_id)
        return event_id or ""

    async def _words(self, place: Place, said: Incoming) -> Words:
        people = await self._meeting.mentioned(said)
        answered = await self._portals.place_of(said.number_id, said.reply_to) if said.reply_to else None
        return rendering.words(said, people, reply_lost=bool(said.reply_to) and answered is None, speaker=place.speaker)

    async def _content(self, place: Place, said: Incoming, words: Words, change: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """(event type, content) of a message, its file put on the homeserver."""
        people = await self._meeting.mentioned(said)
        if said.kind in ("media", "edit") and said.media is not None:
            try:
                kind, content = await self._with_file(place, said, words)
            except NetworkError as error:
                # The message is not lost with its file: that can still come, or it is said that it does not.
                log.warning("A file could not be fetched: %s", error)
                kind, content = (
                    "m.room.message",
                    rendering.missing(said, words, "given-up" if error.final else "waiting", str(error)),
                )
        elif said.kind == "missing":
            kind, content = "m.room.message", rendering.missing(said, words, "history")
        elif said.cards:
            card = Media("text/vcard", "contact.vcf")
            kind, content = rendering.with_file(
                said, words, await self._upload(place, card, said.cards.encode("utf-8", "replace"))
            )
        elif (short := rendering.shortened(words)) is not None:
            # Matrix has a limit of 64 KiB for an event: the whole text goes along as a file.
            whole = Media("text/plain", "bericht.txt")
            kind, content = rendering.with_file(
                said, short, await self._upload(place, whole, said.text.encode("utf-8", "replace"))
            )
        else:
            kind, content = rendering.message(said, words)
        if people:
            content["m.mentions"] = {"user_ids": sorted(user_id for user_id, _ in people.values())}
        return kind, self._attributed(place, said, content)

    async def _with_file(self, place: Place, said: Incoming, words: Words) -> tuple[str, dict[str, Any]]:
        """(event type, content) of a message with its file. Raises NetworkError."""
        if said.media is None:
            raise NotUnderstood("the message has no file")
        data = await self._files.get(said.number_id, said.media)
        short = rendering.shortened(words)
        return rendering.with_file(said, short or words, await self._upload(place, said.media, data))

    def _attributed(self, place: Place, said: Incoming, content: dict[str, Any]) -> dict[str, Any]:
        """With whose words they are, where the bot or the bridge says them in somebody's name."""
        if place.speaker:
            profile = {"id": place.portal.official, "displayname": place.speaker, "has_fallback": True}
            content = content | {PROFILE: profile}
        if place.puppet:
            content = content | {"fi.mau.double_puppet_source": self._settings.appservice_id}
        if said.expires_after:
            content = content | {"com.beeper.disappearing_timer": {"type": "after_send", "timer": said.expires_after * 1000}}
        return content

    async def _post(self, place: Place, said: Incoming, kind: str, content: dict[str, Any], txn: str) -> str:
        content = content | {SOURCE: self._source(place, said)}
        return await self._portals.send(place.sender, place.room_id, content, txn, _at(said), kind)

    async def _post_payload(self, place: Place, said: Incoming, event_id: str) -> None:
        """WhatsApp's own message as a file, where an event can't hold it."""
        file = await self._upload(place, Media("application/json", "whatsapp.json"), rendering.raw(said))
        content = file | {"body": PAYLOAD, "m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}
        await self._post(place, said, "m.room.message", content, _txn("wa-payload", said))

    def _source(self, place: Place, said: Incoming) -> dict[str, Any]:
        display, official = self._numbers.display(said.number_id), place.portal.official
        if said.from_us:
            return rendering.source(said, self._network.name, display, official, sender=display, name=place.name)
        who = place.person.named if place.person is not None else said.person
        now = Named(said.person.wa_id or who.wa_id, said.person.user_id or who.user_id, "", said.person.username or who.username)
        return rendering.source(
            said, self._network.name, display, official,
            sender=now.shown, name=said.person.name or who.name, user_id=now.user_id, username=now.username,
        )  # fmt: skip

    async def _sender_of(self, room_id: str, event_id: str) -> str:
        event = await self._accounts.bot.call(Method.GET, Path.v3.rooms[room_id].event[event_id])
        return str(event.get("sender", ""))

    async def _upload(self, place: Place, media: Media, data: bytes) -> dict[str, Any]:
        return await attachments.upload(place.sender, media, data, encrypted=self._settings.encryption)


def _txn(what: str, said: Incoming) -> str:
    """The same transaction id for the same message: sent again, the server answers with the first."""
    return f"{what}-" + hashlib.sha256(f"{said.number_id}|{said.message_id}".encode("utf-8", "replace")).hexdigest()[:32]


def _at(said: Incoming) -> int:
    return milliseconds(said.sent_at or datetime.now(UTC))
