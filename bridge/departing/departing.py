"""What an official says in a portal, sent to WhatsApp; what WhatsApp can't do is said in the room."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixError, MatrixRequestError

from bridge import attachments
from bridge.accounts import Accounts
from bridge.departing.holding import Holding
from bridge.departing.notices import TEXTS, Notices, two
from bridge.departing.opening import UNREADABLE, Opening
from bridge.departing.outsiders import OUTSIDER, Outsiders
from bridge.departing.own import Own
from bridge.departing.receipts import READ, Reading, Receipts
from bridge.departing.said import Said, read
from bridge.departing.templates import Choice, Offers
from bridge.departing.window import Window
from bridge.network import Network, NetworkError, NotUnderstood, Outgoing
from bridge.network.cloud.refusals import WINDOW_CLOSED
from bridge.network.cloud.vcards import TYPES as CARDS
from bridge.network.cloud.vcards import contacts
from bridge.numbers import Numbers
from bridge.portal.portal import Portal, Portals
from bridge.relay.relay import Relay, column

log = logging.getLogger(__name__)

ZONE = ZoneInfo("Europe/Amsterdam")
SOURCE = "nl.griffier.source"
EVENTS = frozenset({
    "m.room.message", "m.room.encrypted", "m.reaction", "m.sticker", "m.room.redaction", "m.call.invite", "m.poll.start",
    "org.matrix.msc3381.poll.start", "org.matrix.msc4075.call.notify",
})  # fmt: skip
GONE = (
    "het nummer van deze persoon is nu van iemand anders. Het gesprek gaat verder zodra deze persoon weer iets laat horen · "
    "this person's number is somebody else's now. The conversation goes on when this person writes again"
)
TWICE = (
    "WhatsApp heeft niet gezegd of dit bericht er al was; het is opnieuw verstuurd en kan daar dus twee keer staan · "
    "WhatsApp has not said whether it had this message; it was sent again, and may be there twice"
)
THEIRS = (
    "Dit bericht van de andere kant is hier verwijderd; op WhatsApp blijft het staan · "
    "This message of the other side was deleted here; it stays on WhatsApp"
)
PAUSED = (
    "Het nummer is gepauzeerd. Wat u hier schrijft wacht, en gaat vanzelf zodra het weer aanstaat; verwijder een bericht dat niet"
    " meer hoeft · The number is paused. What you write here waits, and goes by itself once it is resumed; delete a message that"
    " need not go any more"
)
LONG = 60.0  # seconds from which on it is told that a message waits
WITHDRAW = "INSERT INTO withdrawn (event_id) VALUES ($1) ON CONFLICT DO NOTHING"
SHOW = "UPDATE carried SET shown = $3 WHERE number_id = $1 AND message_id = $2"
REACTION = "SELECT number_id, target FROM reaction WHERE event_id = $1 AND sender = $2"
OWN = "SELECT EXISTS (SELECT FROM outbox WHERE event_id = $1)"
NOT_SENT = "UPDATE outbox SET state = 'kept' WHERE event_id = $1 AND state = 'held' RETURNING true"


class Departing:
    """Carries events over, one at a time in a room."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        numbers: Numbers,
        accounts: Accounts,
        portals: Portals,
        relay: Relay,
        network: Network,
        opening: Opening,
        window: Window,
        notices: Notices,
        offers: Offers,
        holding: Holding,
        receipts: Receipts,
        reading: Reading,
        own: Own,
        outsiders: Outsiders,
    ) -> None:
        self._pool = pool
        self._numbers = numbers
        self._accounts = accounts
        self._portals = portals
        self._relay = relay
        self._network = network
        self._opening = opening
        self._window = window
        self._notices = notices
        self._offers = offers
        self._holding = holding
        self._receipts = receipts
        self._reading = reading
        self._own = own
        self._outsiders = outsiders

    async def wanted(self, event: dict[str, Any]) -> bool:
        """Whether an event is something an official said or did in a portal. What was deleted is not sent if it still waits."""
        kind, event_id = str(event.get("type")), str(event.get("event_id"))
        ours = kind in (READ, OUTSIDER) and event_id.startswith(f"{kind}|")  # of our own making
        if "state_key" in event or not (ours or event.get("type") in EVENTS):
            return False
        portal = await self._portals.of(str(event.get("room_id")))
        if portal is None:
            return False
        if kind == OUTSIDER:
            return await self._outsiders.wanted(portal, str(event["sender"]))
        if event.get("sender") not in self._numbers.officials(portal.number_id):
            # Who could speak for the number before is told that they no longer can.
            said = event["type"] in ("m.room.message", "m.room.encrypted")
            return said and event.get("sender") in self._numbers.once_officials(portal.number_id)
        if event["type"] == "m.room.redaction":
            await self._pool.execute(WITHDRAW, column(_redacts(event)))
        return True

    async def carry(self, event: dict[str, Any]) -> str:
        """Send an official's message to WhatsApp; returns done, kept, or held. Raises NetworkError, NotUnderstood, NotYet."""
        portal = await self._portals.of(event["room_id"])
        if portal is None:
            raise NotUnderstood("deze kamer is geen WhatsApp-gesprek · this room is no WhatsApp conversation")
        if event["type"] == OUTSIDER:
            return await self._outsiders.carry(portal, event)
        if "|" in portal.contact:
            raise NotUnderstood(GONE)
        if event["type"] == READ:
            about = event["content"]
            return await self._reading.carry(portal, str(about["event_id"]), float(about.get("until", 0)))
        if await self._own.said(event, event.get("content")):
            return "kept"
        try:
            if event["type"] == "m.room.redaction":
                return await self._redacted(portal, event)
            return await self._said(portal, event)
        except NetworkError as error:
            await self._troubled(portal, event["event_id"], error)
            raise

    async def not_sent(self, event: dict[str, Any], reason: str) -> None:
        """Tell the people in the room, and the archive, that a message did not reach WhatsApp."""
        if event["type"] in (READ, OUTSIDER) or await self._relay.whole(
            event["event_id"]
        ):  # it went; what followed could not be done
            return
        await self._notices.not_arrived(event["room_id"], _about(event), event["event_id"], reason)
        if event["type"] != "m.room.redaction":
            await self._receipts.not_sent(event["room_id"], event["event_id"], reason)

    async def perhaps_twice(self, event: dict[str, Any]) -> None:
        """Tell that a message is sent again, not knowing whether WhatsApp had it. Raises MatrixRequestError."""
        if event["type"] in (READ, OUTSIDER, "m.reaction", "m.room.redaction"):  # which are the same when they come twice
            return
        await self._notices.tell(event["room_id"], event["event_id"], f"twice {event['event_id']}", *two(TWICE))

    async def waits(self, event: dict[str, Any]) -> None:
        """Tell, once a day in a room, that what is said waits because its number is paused. Raises MatrixRequestError."""
        await self._notices.once(event["room_id"], _about(event), "paused", *two(PAUSED))

    async def _said(self, portal: Portal, event: dict[str, Any]) -> str:
        event_id: str = event["event_id"]
        if await self._withdrawn(event_id):
            await self._receipts.stayed(portal.room_id, event_id)
            return "kept"
        kind, content = await self._opening.opened(event)
        if await self._own.said(event, content):
            return "kept"
        try:
            said = read(kind, content)
        except UNREADABLE:
            raise NotUnderstood("de inhoud is onleesbaar · the content can't be understood") from None
        match said.kind:
            case "silent":
                if kind == "m.room.message":
                    await self._receipts.stayed(portal.room_id, event_id)
                return "kept"
            case "cannot":
                return await self._impossible(portal, event_id, said)
            case "command" if said.command == "send":
                await self._holding.release(portal, event_id)
            case "command":
                await self._template(portal, event, said)
            case "reaction" if await self._offers.is_offer(said.answers):
                await self._chosen(portal, event, await self._offers.reacted(portal, said.answers, said.text))
            case _:
                return await self._freely(portal, event_id, said)
        await self._receipts.stayed(portal.room_id, event_id)
        return "done"

    async def _impossible(self, portal: Portal, event_id: str, said: Said) -> str:
        """What WhatsApp can't do: the room is told once a day, the archive of each."""
        await self._notices.limit(portal.room_id, said.answers or event_id, said.notice)
        if said.notice == "vote":  # which stays in Matrix, as it should
            await self._receipts.stayed(portal.room_id, event_id)
        else:
            await self._receipts.not_sent(portal.room_id, event_id, " · ".join(TEXTS[said.notice]))
        return "kept"

    async def _freely(self, portal: Portal, event_id: str, said: Said) -> str:
        """Send what WhatsApp takes while its window is open; of what went before a setback, only the rest is done."""
        gone = await self._relay.whole(event_id)
        if not gone and await self._window.closed(portal.number_id, portal.contact):
            return await self._held(portal, event_id)
        if said.kind == "reaction":
            return await self._react(portal, event_id, said)
        if not gone and not await self._send(portal, event_id, await self._outgoing(portal, said, event_id)):
            return await self._held(portal, event_id)
        if said.notice:
            await self._notices.limit(portal.room_id, event_id, said.notice)
        return "done"

    async def _outgoing(self, portal: Portal, said: Said, event_id: str) -> Outgoing:
        about = said.edits or said.answers
        reply_to = (await self._relay.message_of(about) if about else None) or ""
        bare = Outgoing(portal.contact, said.kind, said.text, reply_to=reply_to, group=portal.group, key=event_id)
        if said.kind != "file":
            return replace(bare, place=said.place)
        if not isinstance(said.content.get("url"), str) and not isinstance(said.content.get("file"), dict):
            raise NotUnderstood("de bijlage ontbreekt · the attachment is not there")
        try:
            media, data = await attachments.download(self._accounts.bot, said.content)
        except UNREADABLE:
            raise NotUnderstood("de bijlage is onleesbaar · the attachment can't be read") from None
        except MatrixRequestError as error:
            if error.http_status != 404:
                raise
            raise NotUnderstood("de bijlage is er niet meer · the attachment is gone") from None
        if media.media_type.partition(";")[0].strip().lower() in CARDS or media.name.lower().endswith(".vcf"):
            cards = contacts(data)
            if cards and not portal.group:
                return replace(bare, kind="cards", cards=cards)
        return replace(bare, kind="media", media=media, content=data)

    async def _send(self, portal: Portal, event_id: str, outgoing: Outgoing) -> bool:
        """Send, in as many messages as it takes, those that did not go before; False when the window turns out to be closed."""
        pieces = self._network.fitted(outgoing)
        gone = await self._relay.parts_of(event_id)
        for number, piece in enumerate(pieces, 1):
            if number in gone:
                continue
            try:
                message_id = await self._network.send(portal.number_id, piece)
            except NetworkError as error:
                if error.code != WINDOW_CLOSED:
                    raise
                await self._window.shut(portal.number_id, portal.contact)
                return False
            await self._relay.carried(portal.number_id, message_id, portal.room_id, event_id, (number, len(pieces)))
        return True

    async def _held(self, portal: Portal, event_id: str) -> str:
        """The window is closed: nothing is thrown at WhatsApp that it would throw away."""
        await self._holding.explain(portal, event_id)
        error = NetworkError(self._network.explain(WINDOW_CLOSED), final=True, code=WINDOW_CLOSED)
        await self._receipts.refused(portal, event_id, error)
        return "held"

    async def _react(self, portal: Portal, event_id: str, said: Said) -> str:
        target = await self._relay.message_of(said.answers)
        if target is None:
            return await self._impossible(portal, event_id, replace(said, notice="unknown-target"))
        outgoing = Outgoing(portal.contact, "reaction", said.text, target=target, group=portal.group, key=event_id)
        if not await self._send(portal, event_id, outgoing):
            return await self._held(portal, event_id)
        # All who speak for the number are one to WhatsApp, which keeps one reaction of theirs: the newest.
        us = self._accounts.bot.user_id
        before = await self._relay.reaction_of(portal.number_id, target, us)
        if before is not None and before != event_id:
            await self._take_away(portal.room_id, before)
        await self._relay.keep_reaction(portal.number_id, target, us, event_id)
        return "done"

    async def _take_away(self, room_id: str, event_id: str) -> None:
        """A reaction that another has taken the place of at WhatsApp."""
        txn = "replaced-" + hashlib.sha256(event_id.encode()).hexdigest()[:32]
        reason = {"reason": "vervangen door een nieuwe reactie · replaced by a new reaction"}
        try:
            await self._accounts.bot.call(Method.PUT, Path.v3.rooms[room_id].redact[event_id][txn], reason)
        except MatrixRequestError as error:
            log.warning("An older reaction could not be taken away: %s", getattr(error, "errcode", ""))

    async def _redacted(self, portal: Portal, event: dict[str, Any]) -> str:
        """An official deletes: a reaction is taken back; a message that was sent can't be, and that is said."""
        target, us = _redacts(event), self._accounts.bot.user_id
        if (row := await self._pool.fetchrow(REACTION, column(target), us)) is not None:
            outgoing = Outgoing(portal.contact, "reaction", "", target=row["target"], group=portal.group, key=event["event_id"])
            await self._send(portal, event["event_id"], outgoing)
            await self._relay.keep_reaction(portal.number_id, row["target"], us, None)
            return "done"
        if await self._pool.fetchval(NOT_SENT, column(target)):
            await self._notices.tell(
                portal.room_id,
                target,
                f"withdrawn {target}",
                "Dit bericht was nog niet verstuurd en gaat niet meer naar WhatsApp",
                "This message had not been sent and will not go to WhatsApp",
            )
            await self._receipts.stayed(portal.room_id, target)
        elif await self._relay.message_of(target):
            await self._told_of_deletion(portal, target, own=bool(await self._pool.fetchval(OWN, column(target))))
        return "done"

    async def _told_of_deletion(self, portal: Portal, target: str, *, own: bool) -> None:
        if not own:
            await self._notices.once(portal.room_id, target, "deleted-theirs", *two(THEIRS))
            return
        reached = await self._receipts.reached(target)
        read_at = next((at for state, at in reached or () if state != "delivered"), None)
        dutch, english = "Het was daar nog niet gelezen", "It had not been read there"
        if reached is None:
            dutch, english = "Of het daar gelezen was is niet meer na te gaan", "Whether it was read there is not known any more"
        if read_at is not None:
            when = read_at.astimezone(ZONE)
            dutch = f"Het is daar gelezen op {when:%d-%m-%Y} om {when:%H:%M}"
            english = f"It was read there on {when:%Y-%m-%d} at {when:%H:%M}"
        await self._notices.tell(
            portal.room_id,
            target,
            f"deleted {target}",
            f"Dit bericht is hier verwijderd, maar staat nog bij WhatsApp: de brug kan het daar niet terughalen. {dutch}",
            f"This message was deleted here but is still on WhatsApp: the bridge can't take it back there. {english}",
        )

    async def _withdrawn(self, event_id: str) -> bool:
        """Whether an event was deleted before it could be sent."""
        gone = "SELECT EXISTS (SELECT FROM withdrawn WHERE event_id = $1)"
        return bool(await self._pool.fetchval(gone, column(event_id))) and not await self._relay.parts_of(event_id)

    async def _template(self, portal: Portal, event: dict[str, Any], said: Said) -> None:
        if said.text:
            await self._chosen(portal, event, await self._offers.asked(portal, said.text))
            return
        why = "Deze sjablonen zijn goedgekeurd", "These templates have been approved"
        await self._offers.offer(portal, event["event_id"], why)

    async def _chosen(self, portal: Portal, event: dict[str, Any], choice: Choice) -> None:
        """Send a template, and show in the room what the other side has seen, as the archive must know it."""
        event_id = event["event_id"]
        filled = choice.template.filled(choice.values)
        gone = await self._relay.parts_of(event_id)
        message_id = gone.get(1, "")
        if not message_id:
            outgoing = Outgoing(portal.contact, "template", template=filled, group=portal.group, key=event_id)
            message_id = await self._network.send(portal.number_id, outgoing)
            await self._relay.carried(portal.number_id, message_id, portal.room_id, event_id)
        number = self._numbers.display(portal.number_id)
        payload = {"name": filled.name, "language": {"code": filled.language}, "components": list(filled.components)}
        raw = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
        source = {
            "network": self._network.name,
            "message_id": message_id,
            "sender": number,
            "sent_at": int(event.get("origin_server_ts") or datetime.now(UTC).timestamp() * 1000),
            "type": "template",
            "raw_sha256": hashlib.sha256(raw).hexdigest(),
            "phone_number_id": portal.number_id,
            "number": number,
            "official": event["sender"],
            "payload": {"type": "template", "template": payload},
        } | ({"group": portal.contact} if portal.group else {})
        content = {"msgtype": "m.notice", "body": choice.template.rendered(choice.values), SOURCE: source}
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": event_id}}
        shown = await self._notices.say(portal.room_id, f"template {event_id}", content)
        if shown:
            await self._pool.execute(SHOW, portal.number_id, column(message_id), shown)

    async def _troubled(self, portal: Portal, event_id: str, error: NetworkError) -> None:
        """WhatsApp refused: shown on the message when that is final; when it waits for long, that is said once."""
        try:
            if error.final:
                await self._receipts.refused(portal, event_id, error)
            elif error.after >= LONG:
                dutch, english = two(str(error))
                await self._notices.once(
                    portal.room_id,
                    event_id,
                    f"waits {error.code}",
                    f"Dit bericht wacht en gaat vanzelf zodra het kan: {dutch}",
                    f"This message waits and goes by itself as soon as it can: {english}",
                )
        except (MatrixError, aiohttp.ClientError, OSError) as problem:  # the refusal stands; that it is told is seen to after it
            log.warning("It could not be told that a message was refused or waits: %s", type(problem).__name__)


def _about(event: dict[str, Any]) -> str:
    """The message that people see: of a reaction or a deletion, what it is about."""
    if event["type"] == "m.room.redaction":
        return _redacts(event)
    relation = event["content"].get("m.relates_to") if isinstance(event.get("content"), dict) else None
    target = relation.get("event_id") if event["type"] == "m.reaction" and isinstance(relation, dict) else None
    return str(target or event["event_id"])


def _redacts(event: dict[str, Any]) -> str:
    """The event that a redaction is about (room version 11: in its content)."""
    content = event.get("content")
    inner = content.get("redacts") if isinstance(content, dict) else None
    return str(inner or event.get("redacts") or "")
