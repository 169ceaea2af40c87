"""What the guard lets pass and refuses, and whom it seats when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from synapse.module_api.errors import SynapseError

from archiver.homeserver.guard import Guard

ARCHIVER = "@archief:x"
MAKER = "@maker:x"
LEVELS = {"users": {MAKER: 100}, "events_default": 0}


class Synapse:
    """What the guard asks of Synapse; it keeps who was made a member, and what was sent."""

    def __init__(self, **rooms: dict[tuple[str, str], Any]) -> None:
        self.rooms = rooms
        self.joined: list[str] = []
        self.invited_by: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.started: list[Any] = []

    def register_third_party_rules_callbacks(self, **callbacks: Any) -> None:
        pass

    def should_run_background_tasks(self) -> bool:
        return True

    def run_as_background_process(self, name: str, what: Any, *told: Any) -> None:
        self.started.append(what(*told))

    async def until_idle(self) -> None:
        while self.started:
            await self.started.pop()

    def is_mine(self, user_id: str) -> bool:
        return user_id.endswith(":x")

    async def update_room_membership(self, sender: str, target: str, room_id: str, membership: str) -> None:
        if membership == "join":
            self.joined.append(target)
        elif membership == "invite":
            self.invited_by.append(sender)

    async def create_and_send_event_into_room(self, event: dict[str, Any]) -> None:
        self.sent.append(event)

    async def get_room_state(self, room_id: str, _filter: Any = None) -> dict[tuple[str, str], Any]:
        return self.rooms[room_id]


def event(kind: str, content: dict[str, Any], key: str | None = "", sender: str = MAKER) -> Any:
    place = {} if key is None else {"state_key": key}  # as in Synapse: what is no state has no such attribute
    told = {"type": kind, "sender": sender, "room_id": "!kamer:x", "content": content, "is_state": lambda: key is not None}
    return SimpleNamespace(**told, **place)


def state(*events: Any) -> dict[tuple[str, str], Any]:
    return {(one.type, one.state_key): one for one in events}


def member(user_id: str, membership: str = "join", **more: Any) -> Any:
    return event("m.room.member", {"membership": membership, **more}, user_id, user_id)


def levels(content: dict[str, Any]) -> Any:
    return event("m.room.power_levels", content)


def guard(synapse: Synapse, *kinds: str) -> Guard:
    scope = {"kinds": list(kinds)} if kinds else {}
    return Guard({"archiver": [ARCHIVER, "@archief2:x"], "scope": scope}, synapse)


BOT, GHOST, MINISTER, WORKS_COUNCIL = "@whatsappbot:x", "@whatsapp_31600000101:x", "@minister:x", "@or-lid:x"
SCOPES = {
    "one official": {"officials": [MINISTER]},
    "all but the works council": {"officials": ["@*:x"], "except_officials": ["@or-*:x"]},
}


def bridged_guard(synapse: Synapse, scope: dict[str, Any]) -> Guard:
    return Guard({"archiver": ARCHIVER, "scope": scope, "bridges": [BOT, "@whatsapp_*:x"]}, synapse)


def portal_request(official: str, *, told: bool = True) -> dict[str, Any]:
    """As ours and mautrix make a portal."""
    info = {"type": "m.bridge", "state_key": "x/whatsapp", "content": {"bridgebot": BOT, "nl.griffier.official": official}}
    return {"preset": "private_chat", "invite": [official, GHOST], "initial_state": [info] if told else []}


async def made_by(synapse: Synapse, seats: Guard, request: dict[str, Any], maker: str = BOT) -> list[str]:
    """Who has been seated when a room has its first power levels."""
    requester = SimpleNamespace(user=SimpleNamespace(to_string=lambda: maker))
    await seats.on_create_room(requester, request, False)
    create = event("m.room.create", request["creation_content"], sender=maker)
    so_far = state(create, member(maker))
    assert await seats.check_event_allowed(event("m.room.power_levels", {"users": {maker: 100}}, sender=maker), so_far)
    return synapse.joined


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("told", [True, False], ids=["with bridge state", "with a ghost invited"])
async def test_a_portal_is_archived_from_its_first_message_on_if_its_official_is_in_scope_and_only_then(scope, told):
    synapse = Synapse()
    assert await made_by(synapse, bridged_guard(synapse, scope), portal_request(MINISTER, told=told)) == [ARCHIVER]
    synapse = Synapse()
    assert await made_by(synapse, bridged_guard(synapse, scope), portal_request(WORKS_COUNCIL, told=told)) == []


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
async def test_an_official_out_of_scope_who_joins_a_portal_brings_no_archiver_and_one_in_scope_does(scope):
    for official, wanted in ((WORKS_COUNCIL, 0), (MINISTER, 1)):
        synapse = Synapse()
        seats = bridged_guard(synapse, scope)
        request = portal_request(WORKS_COUNCIL)
        await made_by(synapse, seats, request)
        create = event("m.room.create", request["creation_content"], sender=BOT)
        joins = member(official)
        await seats.on_new_event(joins, state(create, member(BOT), member(GHOST), levels(LEVELS), joins))
        await synapse.until_idle()
        assert len(synapse.joined) == wanted
        assert synapse.invited_by == [BOT] * wanted  # nobody else may invite to a portal


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
async def test_the_room_in_which_the_bridge_reports_is_archived_whoever_its_admins_are(scope):
    synapse = Synapse()
    request = {"preset": "private_chat", "name": "Beheer WhatsApp-brug", "invite": ["@or-beheer:x", "@beheer:elders"]}
    assert await made_by(synapse, bridged_guard(synapse, scope), request) == [ARCHIVER]


async def test_only_a_bridge_s_rooms_say_for_whom_they_are():
    synapse = Synapse()
    forged = {"creation_content": {"nl.griffier.bridge": {"management": True}}, "preset": "private_chat"}
    assert await made_by(synapse, bridged_guard(synapse, SCOPES["one official"]), forged, maker=WORKS_COUNCIL) == []
    assert "nl.griffier.bridge" not in forged["creation_content"]


async def test_a_bridge_s_space_is_for_whom_it_invites():
    synapse = Synapse()
    space = {"creation_content": {"type": "m.space"}, "invite": [WORKS_COUNCIL]}
    assert await made_by(synapse, bridged_guard(synapse, SCOPES["one official"]), space) == []


@pytest.mark.parametrize("bridges", ["@bot:x", [7], {"a": 1}], ids=str)
def test_bridges_that_are_no_list_are_named_when_synapse_starts(bridges):
    with pytest.raises(ValueError, match="bridges"):
        Guard.parse_config({"archiver": ARCHIVER, "bridges": bridges})


REQUESTS = {
    "private": {"preset": "private_chat"},
    "public": {"preset": "public_chat"},
    "direct": {"preset": "trusted_private_chat", "is_direct": True, "invite": ["@ander:x"]},
}


@pytest.mark.parametrize("made", REQUESTS)
@pytest.mark.parametrize("kinds", [("private",), ("public",), ("direct",), ("private", "public"), ()], ids=str)
async def test_a_room_being_made_gets_its_archiver_if_its_kind_is_in_scope_and_only_then(made, kinds):
    synapse = Synapse()
    seats = guard(synapse, *kinds)
    request = dict(REQUESTS[made])
    await seats.on_create_room(None, request, False)
    so_far = state(event("m.room.create", request["creation_content"]), member(MAKER))
    assert await seats.check_event_allowed(levels(LEVELS), so_far) == (True, None)
    assert bool(synapse.joined) == (not kinds or made in kinds)


async def test_the_maker_of_a_room_does_not_name_its_kind_himself():
    request = {"preset": "private_chat", "creation_content": {"nl.griffier.kind": "direct", "m.federate": False}}
    await guard(Synapse(), "private").on_create_room(None, request, False)
    assert request["creation_content"] == {"nl.griffier.kind": "private", "m.federate": False}


async def test_an_upgraded_direct_chat_is_still_one():
    create = event("m.room.create", {"predecessor": {"room_id": "oud", "event_id": "$"}})
    so_far = state(create, member(MAKER))
    for kind, wanted in [("direct", 0), ("private", 1)]:
        synapse = Synapse(oud=state(event("m.room.create", {"nl.griffier.kind": kind})))
        await guard(synapse, "private", "public").check_event_allowed(levels(LEVELS), so_far)
        assert len(synapse.joined) == wanted


async def test_what_a_room_replaces_need_not_be_known_here():
    create = event("m.room.create", {"predecessor": {"room_id": "elders", "event_id": "$"}})
    allowed = await guard(Synapse(), "private").check_event_allowed(levels(LEVELS), state(create, member(MAKER)))
    assert allowed == (True, None)


async def test_a_private_room_that_becomes_public_comes_into_scope():
    synapse = Synapse()
    opened = event("m.room.join_rules", {"join_rule": "public"})
    now = state(event("m.room.create", {"nl.griffier.kind": "private"}), member(MAKER), levels(LEVELS), opened)
    await guard(synapse, "public").on_new_event(opened, now)
    await synapse.until_idle()
    assert len(synapse.joined) == 1


async def test_who_silences_the_archiver_is_refused():
    now = state(event("m.room.create", {}), member(MAKER), member(ARCHIVER), levels(LEVELS))
    with pytest.raises(SynapseError, match="ten minste niveau 50"):
        await guard(Synapse()).check_event_allowed(levels({**LEVELS, "events_default": 50}), now)


QUIET = {**LEVELS, "events_default": 50}


@pytest.mark.parametrize(
    ("create", "before"),
    [({}, QUIET), ({"predecessor": {"room_id": "oud"}}, LEVELS)],
    ids=["in a room where the archiver had no voice", "in the room that an upgrade made"],
)
async def test_levels_that_take_nothing_from_the_archiver_pass_and_are_mended(create, before):
    synapse = Synapse()
    told = levels({**QUIET, "ban": 75})
    now = state(event("m.room.create", create), member(MAKER), member(ARCHIVER), levels(before))
    assert await guard(synapse).check_event_allowed(told, now) == (True, None)
    await guard(synapse).on_new_event(told, now | state(told))
    await synapse.until_idle()
    assert synapse.sent[0]["content"] == told.content | {"users": {MAKER: 100, ARCHIVER: 50}}


async def test_the_archiver_can_be_unbanned_but_not_put_out():
    aimed = event("m.room.member", {"membership": "leave"}, ARCHIVER)
    assert await guard(Synapse()).check_event_allowed(aimed, state(member(ARCHIVER, "ban"))) == (True, None)
    for now in ("join", "invite"):
        with pytest.raises(SynapseError, match="kan er niet uit worden verwijderd"):
            await guard(Synapse()).check_event_allowed(aimed, state(member(ARCHIVER, now)))


@pytest.mark.parametrize("kind", ["m.room.message", "m.room.power_levels", "m.room.join_rules"])
async def test_what_is_no_state_passes(kind):
    synapse = Synapse()
    told = event(kind, {}, None)
    now = state(event("m.room.create", {}), member(MAKER), member(ARCHIVER), levels(LEVELS))
    assert await guard(synapse).check_event_allowed(told, now) == (True, None)
    await guard(synapse).on_new_event(told, now)
    assert not synapse.started
