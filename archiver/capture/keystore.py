"""The device's keys in Postgres: what nio asks of a store, buffered until the transaction of the sync batch (DESIGN D3, D8).

nio keeps Olm sessions in memory and calls `save_…` as they change. Here a save only marks what changed; `flush` writes all of it
in the caller's transaction, together with the events and the sync token. Megolm sessions are written and forgotten: capture loads
those it needs in batches (archiver.capture.megolm).
"""

from __future__ import annotations

from datetime import UTC
from typing import Any, NamedTuple

from nio.crypto import DeviceStore, GroupSessionStore, InboundGroupSession, OlmAccount, OlmDevice, Session, SessionStore

from archiver.db import Connection
from archiver.ledger.canonical import column, usable

LOAD_SEAT = "SELECT account, account_shared FROM seat WHERE org = $1 AND user_id = $2"
LOAD_SESSIONS = "SELECT sender_key, pickle, created_at, used_at FROM olm_session WHERE org = $1 AND user_id = $2"
SAVE_ACCOUNT = "UPDATE seat SET account = $3, account_shared = $4 WHERE org = $1 AND user_id = $2"
SAVE_SESSION = """
    INSERT INTO olm_session (org, user_id, sender_key, session_id, pickle, created_at, used_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (org, user_id, sender_key, session_id) DO UPDATE SET pickle = excluded.pickle, used_at = excluded.used_at
"""
# A key that reaches further back replaces one that doesn't, never the other way round.
SAVE_MEGOLM = """
    INSERT INTO megolm_session AS old
        (org, user_id, room_id, session_id, sender_key, signing_key, first_index, forwarded, pickle, giver)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (org, room_id, session_id, user_id) DO UPDATE
        SET pickle = excluded.pickle, first_index = excluded.first_index, forwarded = excluded.forwarded, backed_up_at = NULL
        WHERE excluded.first_index < old.first_index
"""


class NewSession(NamedTuple):
    """A Megolm session that has just come."""

    room_id: str
    session_id: str
    giver: str  # the account whose device sent it
    sender_key: str  # that device's Curve25519 key


class KeyStore:
    """nio's MatrixStore, as far as its Olm machine uses one."""

    def __init__(self, org: int, user_id: str, pickle_key: str) -> None:
        self.org = org
        self.user_id = user_id
        self._pickle_key = pickle_key
        self._account: OlmAccount | None = None
        self._sessions = SessionStore()
        self._account_changed = False
        self._changed: dict[tuple[str, str], Session] = {}
        self._megolm: list[tuple[InboundGroupSession, str]] = []
        self.giver = user_id
        """The account whose room key is being taken in; our own for the sessions that we make."""

    async def load(self, tx: Connection) -> None:
        """Read the account and the Olm sessions; called once, before nio's machine is made."""
        row = await tx.fetchrow(LOAD_SEAT, self.org, self.user_id)
        if row["account"] is not None:
            self._account = OlmAccount.from_pickle(row["account"], self._pickle_key, row["account_shared"])
        for kept in await tx.fetch(LOAD_SESSIONS, self.org, self.user_id):
            created, used = (kept[name].astimezone().replace(tzinfo=None) for name in ("created_at", "used_at"))
            session = Session.from_pickle(kept["pickle"], created, self._pickle_key, used)
            self._sessions.add(kept["sender_key"], session)

    async def flush(self, tx: Connection) -> list[NewSession]:
        """Write what changed; return the Megolm sessions that came."""
        # Everything is taken before the first await: what changes meanwhile is the next flush's.
        account = self._account if self._account_changed else None
        pickle = account.pickle(self._pickle_key) if account is not None else None
        sessions = [self._session_row(*item) for item in self._changed.items()]
        came = [NewSession(session.room_id, session.id, giver, session.sender_key) for session, giver in self._megolm]
        rows = [self._row(session, giver) for session, giver in self._megolm]
        self._account_changed, self._changed, self._megolm = False, {}, []
        if account is not None:
            await tx.execute(SAVE_ACCOUNT, self.org, self.user_id, pickle, account.shared)
        if sessions:
            await tx.executemany(SAVE_SESSION, sessions)
        if rows:
            await tx.executemany(SAVE_MEGOLM, rows)
        return came

    def _session_row(self, ref: tuple[str, str], session: Session) -> tuple[Any, ...]:
        times = (moment.astimezone(UTC) for moment in (session.creation_time, session.use_time))
        return self.org, self.user_id, *ref, session.pickle(self._pickle_key), *times

    def _row(self, session: InboundGroupSession, giver: str) -> tuple[Any, ...]:
        return (
            self.org, self.user_id, session.room_id, session.id, column(session.sender_key), column(session.ed25519),
            session.first_known_index, bool(session.forwarding_chain), session.pickle(self._pickle_key), column(giver),
        )  # fmt: skip

    # What nio calls. Names and shapes are nio's.

    def load_account(self) -> OlmAccount | None:
        return self._account

    def save_account(self, account: OlmAccount) -> None:
        self._account, self._account_changed = account, True

    def load_sessions(self) -> SessionStore:
        return self._sessions

    def save_session(self, curve_key: str, session: Session) -> None:
        self._changed[curve_key, session.id] = session

    def load_inbound_group_sessions(self) -> GroupSessionStore:
        return Forgetful()

    def save_inbound_group_session(self, session: InboundGroupSession) -> None:
        if usable(session.room_id):  # else it is no room's: anyone can send us a key for anything
            self._megolm.append((session, self.giver))

    def load_device_keys(self) -> DeviceStore:
        return DeviceStore()  # asked of the server whenever we are about to send: see archiver.capture.notice

    def save_device_keys(self, device_keys: dict[str, dict[str, OlmDevice]]) -> None:
        pass

    def load_outgoing_key_requests(self) -> dict[str, Any]:
        return {}

    def add_outgoing_key_request(self, key_request: Any) -> None:
        pass

    def remove_outgoing_key_request(self, key_request: Any) -> None:
        pass

    def is_device_verified(self, device: OlmDevice) -> bool:
        return False

    def is_device_blacklisted(self, device: OlmDevice) -> bool:
        return False

    def is_device_ignored(self, device: OlmDevice) -> bool:
        return True  # the archiver's own notice may be read by every device in the room

    def ignore_devices(self, devices: list[OlmDevice]) -> None:
        pass


class Forgetful(GroupSessionStore):  # type: ignore[misc]
    """A store of Megolm sessions that holds none: memory must not grow with the number of keys held (D8)."""

    def add(self, session: InboundGroupSession) -> bool:
        return True
