"""The chain of the audit trail: what was changed, removed or put in shows, whoever did it in the database."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest

from archiver.db import Pool, connect, migrate, tenant_tx
from archiver.ledger import chain
from archiver.ledger.audit import Purpose, doing, note
from archiver.ledger.chain import FIRST, Head, Verdict, extend_all, holds, verify
from archiver.ledger.sealing import FileKey, Vault

pytestmark = pytest.mark.postgres


@pytest.fixture
async def trail(postgres_url: str, tmp_path) -> AsyncIterator[tuple[Pool, Vault]]:
    """A trail of its own, as what is done to it can't be undone: ten acts of organisation 1, and some of another."""
    name, owner = f"c{secrets.token_hex(6)}", await asyncpg.connect(postgres_url)
    await owner.execute(f"CREATE DATABASE {name}")
    try:
        async with connect(urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))) as pool:
            await migrate(pool)
            key = FileKey.load(tmp_path, create=True)
            for org in (1, 2):
                async with tenant_tx(pool, org) as tx:
                    await Vault.set_up(tx, org, "x", key)
                    vault = await Vault.open(tx, org, key)
                for number in range(10):
                    async with tenant_tx(pool, org) as tx:
                        with doing(Purpose("Toezicht", "Z-1")):
                            await note(
                                tx,
                                org,
                                "iemand",
                                "read",
                                room_id="!r:x",
                                number=number,
                                word="é\ud800".encode("utf-8", "replace").decode(),
                            )
                if org == 1:
                    ours = vault
                await extend_all(pool, vault)
            yield pool, ours
    finally:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


async def behind_the_back(pool: Pool, *statements: str) -> None:
    """What a database's manager can do, triggers or not."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            assert await connection.execute(statement) != "UPDATE 0"


LINKED = "SELECT audit_id FROM audit_link WHERE org = 1 AND number"


async def test_a_trail_that_nobody_touched_is_intact_up_to_its_newest_act(trail):
    pool, vault = trail
    found = await verify(pool, vault)
    assert (found.intact, found.number, found.first) == (True, 10, 1)
    async with tenant_tx(pool, 1) as tx:
        await note(tx, 1, "iemand", "read")
    later = await verify(pool, vault, newest=3)
    assert (later.intact, later.number, later.first) == (True, 11, 9)
    assert later.link != found.link
    assert later.at > found.at


@pytest.mark.parametrize(
    ("statement", "problem", "number"),
    [
        (f"UPDATE audit SET actor = 'ander' WHERE org = 1 AND audit_id = ({LINKED} = 4)", "changed", 3),
        (f"UPDATE audit SET at = at - interval '1 day' WHERE org = 1 AND audit_id = ({LINKED} = 1)", "changed", 0),
        (f"UPDATE audit SET purpose = 'Woo' WHERE org = 1 AND audit_id = ({LINKED} = 10)", "changed", 9),
        (f"UPDATE audit SET case_number = NULL WHERE org = 1 AND audit_id = ({LINKED} = 10)", "changed", 9),
        (f"UPDATE audit SET room_id = NULL WHERE org = 1 AND audit_id = ({LINKED} = 5)", "changed", 4),
        (f"UPDATE audit SET detail = '{{}}' WHERE org = 1 AND audit_id = ({LINKED} = 5)", "changed", 4),
        (f"DELETE FROM audit WHERE org = 1 AND audit_id = ({LINKED} = 7)", "removed", 6),
        ("DELETE FROM audit_link WHERE org = 1 AND number = 7", "out of order", 6),
        ("INSERT INTO audit (org, audit_id, actor, action) VALUES (1, gen_random_uuid(), 'x', 'read')", "stray", 10),
        ("UPDATE audit_link SET link = decode(repeat('00', 32), 'hex') WHERE org = 1 AND number = 2", "changed", 1),
    ],
)  # fmt: skip
async def test_what_was_done_behind_its_back_shows_and_where(trail, statement, problem, number):
    pool, vault = trail
    await behind_the_back(pool, statement)
    found = await verify(pool, vault)
    assert (found.problem, found.number) == (problem, number)
    assert not found.intact


async def test_who_lacks_the_key_can_not_make_the_links_again(trail):
    pool, vault = trail
    await behind_the_back(pool, f"UPDATE audit SET actor = 'ander' WHERE org = 1 AND audit_id = ({LINKED} = 4)")
    stranger = Vault(1, FileKey("x", secrets.token_bytes(32)), secrets.token_bytes(32))
    await behind_the_back(
        pool, "INSERT INTO audit_unlinked SELECT org, audit_id FROM audit WHERE org = 1", "DELETE FROM audit_link WHERE org = 1"
    )
    await extend_all(pool, stranger)
    assert (await verify(pool, stranger)).intact
    found = await verify(pool, vault)
    assert (found.problem, found.number) == ("changed", 0)


async def test_what_was_cut_off_from_the_end_shows_to_who_kept_the_number_and_the_link(trail):
    pool, vault = trail
    kept = await verify(pool, vault)
    gone = "org = 1 AND audit_id IN (SELECT audit_id FROM audit_link WHERE org = 1 AND number > 8)"
    await behind_the_back(pool, f"DELETE FROM audit WHERE {gone}", "DELETE FROM audit_link WHERE org = 1 AND number > 8")
    found = await verify(pool, vault)
    assert found.intact  # by itself it can't know: so the page and the command say to keep them
    assert found.number < kept.number
    known = await verify(pool, vault, known=kept.head)
    assert (known.problem, known.known) == ("rewritten", None)


# What a manager of the database can do without any key: the service links again what it finds waiting.
AGAIN = (
    "INSERT INTO audit_unlinked SELECT org, audit_id FROM audit_link NATURAL JOIN audit WHERE org = 1 AND number > 2",
    "DELETE FROM audit_link WHERE org = 1 AND number >= 3",
)
CHANGE = f"UPDATE audit SET actor = 'ander' WHERE org = 1 AND audit_id = ({LINKED} = 3)"
REMOVE = f"DELETE FROM audit WHERE org = 1 AND audit_id = ({LINKED} = 3)"
INSERT = """
    INSERT INTO audit (org, audit_id, at, actor, action)
    VALUES (1, gen_random_uuid(), now() - interval '300 days', 'verzonnen', 'read')
"""


@pytest.fixture
def tomorrow(trail: tuple[Pool, Vault], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is linked from now on is so a day later."""
    monkeypatch.setattr(chain, "_now", lambda: datetime.now(UTC) + timedelta(days=1))


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize(("statement", "late"), [(CHANGE, 8), (REMOVE, 7)])
async def test_acts_that_were_linked_again_by_the_service_itself_are_late(trail, statement, late):
    pool, vault = trail
    assert (await verify(pool, vault)).late == 0
    await behind_the_back(pool, statement, *AGAIN)
    found = await verify(pool, vault)
    assert (found.late, found.number) == (late, 2 + late)
    assert found.late_at - found.at > timedelta(hours=23)


async def test_an_act_that_was_put_in_with_an_older_date_is_late(trail):
    pool, vault = trail
    async with pool.acquire() as connection:  # with the trigger, so that it waits for a link
        await connection.execute(INSERT)
    found = await verify(pool, vault)
    assert (found.intact, found.late, found.number) == (True, 1, 11)


@pytest.mark.parametrize("statement", [CHANGE, REMOVE])
async def test_a_link_that_was_kept_elsewhere_shows_a_trail_that_was_made_again(trail, statement):
    pool, vault = trail
    kept = (await verify(pool, vault)).head
    assert Head.read(f" {str(kept).upper()}\n") == kept
    async with tenant_tx(pool, 1) as tx:
        await note(tx, 1, "iemand", "read")
    assert (await verify(pool, vault, known=kept)).known == 10
    await behind_the_back(pool, statement, *AGAIN)
    assert (await verify(pool, vault)).intact  # of seconds ago: by itself it shows nothing
    found = await verify(pool, vault, known=kept)
    assert (found.problem, found.known) == ("rewritten", None)
    async with tenant_tx(pool, 1) as tx:
        assert not await holds(tx, 1, kept)
        assert await holds(tx, 1, Head(0, FIRST))


async def test_the_link_that_an_earlier_check_left_in_the_trail_must_still_be_there(trail):
    pool, vault = trail
    kept = await verify(pool, vault)
    async with tenant_tx(pool, 1) as tx:
        await note(tx, 1, "controleur", chain.CHECK, number=kept.number, link=kept.link.hex())
    assert (await verify(pool, vault)).intact
    await behind_the_back(pool, CHANGE, *AGAIN)
    assert (await verify(pool, vault)).problem == "rewritten"


@pytest.mark.usefixtures("tomorrow")
async def test_what_was_late_before_a_link_that_was_kept_is_known(trail):
    pool, vault = trail
    async with tenant_tx(pool, 1) as tx:
        await note(tx, 1, "iemand", "read")
    found = await verify(pool, vault)
    assert found.late == 1
    assert (await verify(pool, vault, known=found.head)).late == 0


@pytest.mark.parametrize("text", ["", "10", "10:", "10:abc", f"x:{'0' * 64}", f"1:{'0' * 65}", f"-1:{'0' * 64}"])
def test_what_is_no_number_and_link_is_refused(text):
    with pytest.raises(ValueError, match="NUMBER:LINK"):
        Head.read(text)


async def test_the_service_itself_can_neither_change_nor_remove_acts_or_links(trail):
    pool, _ = trail
    for table in ("audit", "audit_link"):
        for statement in (f"UPDATE {table} SET org = org", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with tenant_tx(pool, 1) as tx:
                    await tx.execute(statement)
            async with pool.acquire() as connection:
                with pytest.raises(asyncpg.RaiseError, match="append-only"):
                    await connection.execute(statement)


async def test_an_act_that_commits_late_gets_its_place_all_the_same(trail):
    pool, vault = trail
    async with tenant_tx(pool, 1) as late:
        await note(late, 1, "traag", "read")
        async with tenant_tx(pool, 1) as tx:
            await note(tx, 1, "snel", "read")
        assert (await verify(pool, vault)).number == 11
    found = await verify(pool, vault)
    assert (found.intact, found.number) == (True, 12)


async def test_many_at_once_make_one_chain(trail):
    pool, vault = trail

    async def act(number: int) -> None:
        async with tenant_tx(pool, 1) as tx:
            await note(tx, 1, "iemand", "read", number=number)
        await extend_all(pool, vault)

    await asyncio.gather(*map(act, range(40)))
    assert await verify(pool, vault) == Verdict(50, (await verify(pool, vault)).link, (await verify(pool, vault)).at)


async def test_acts_of_another_organisation_are_not_in_it(trail):
    pool, _ = trail
    async with tenant_tx(pool, 1) as tx:
        assert await tx.fetchval("SELECT count(*) FROM audit_link") == 10
        assert await tx.fetchval(chain.STRAY, 2, UUID(int=0)) == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with tenant_tx(pool, 1) as tx:
            await tx.execute("INSERT INTO audit_link (org, number, audit_id, link) VALUES (2, 99, gen_random_uuid(), '')")
