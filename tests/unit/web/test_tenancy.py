"""Nothing of another organisation is found on any page, nor in the database by whoever asks for it (DESIGN D17)."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import asyncpg
import pytest

from archiver.capture import media
from archiver.db import tenant_tx
from archiver.ledger.alarm import sound
from archiver.ledger.audit import Purpose, doing, note
from archiver.ledger.files import FileStore
from archiver.ledger.record import append, moment
from archiver.ledger.sealing import SealingError
from archiver.reading import saved
from archiver.reading.project import project_batch
from archiver.reading.words import BlindIndex
from archiver.settings import Settings
from archiver.web import jobs, sessions
from archiver.web.access import FORM_TOKEN, ROUTES, Whoever
from archiver.web.admin import importing, registry
from archiver.web.admin.fields import Fields
from archiver.web.admin.registry import TERM
from archiver.web.context import Archive
from archiver.web.exporting import export
from archiver.web.roles import Role, grant
from archiver.web.sessions import SignedIn
from archiver.web.workshop import Workshop
from tests.unit.web.signed_in import served, session_of, use

pytestmark = pytest.mark.postgres

# The tables that are no organisation's: what has been done to the database itself.
NOBODYS = {"schema_migration"}
TABLES = """
    SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS guarded,
           EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'org' AND a.attnotnull) AS owned,
           ARRAY(SELECT coalesce(pg_get_expr(p.polqual, c.oid), '') || ' / ' || coalesce(pg_get_expr(p.polwithcheck, c.oid), '')
                 FROM pg_policy AS p WHERE p.polrelid = c.oid AND p.polpermissive) AS policies,
           pg_get_userbyid(c.relowner) AS owner
    FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
"""
RIGHTS = """
    SELECT r.rolname, r.rolsuper OR r.rolbypassrls AS unbound, r.rolcanlogin AS signs_in,
           EXISTS (SELECT FROM pg_class AS c WHERE c.relowner = r.oid) AS owns,
           EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid) AS belongs
    FROM pg_roles AS r WHERE r.rolname IN ('griffier_service', 'griffier_official')
"""
# Views and functions that run with their owner's rights would look past the policies.
RUNS_AS_OWNER = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
       AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
       AND prosrc NOT LIKE '%WHERE org = nullif(current_setting(%griffier.org%'  -- these ask for it themselves
"""


# Where something else than "not found" is right: there is nothing to find at an address, or it is the bridge that answers.
OTHERWISE = {
    ("DELETE", "/api/v1/roles/{person}/{role}"): {409},  # they have no such role here
    ("POST", "/admin/bridge/accounts/{account}/forget"): {502},
    ("POST", "/admin/officials/import/{import_id}"): {303},  # nothing to throw away; theirs is still there, see below
}


@dataclass(frozen=True)
class Elsewhere:
    """What another organisation has: a mark that is in all of it, and what stands for each part of an address."""

    mark: str
    parts: dict[str, str]
    folder: Path  # the files are kept in one place: only the keys and the rows keep them apart


@pytest.fixture(scope="module")
async def elsewhere(archive, tmp_path_factory) -> Elsewhere:
    """One of everything, of organisation 2."""
    mark, folder = f"geheim{secrets.token_hex(6)}", tmp_path_factory.mktemp("elsewhere")
    room, files = f"!{mark}:x", FileStore(folder)
    said = archive.arrival({"msgtype": "m.image", "body": mark, "url": "mxc://x/y", "info": {"mimetype": "image/png"}}, room)
    name = archive.arrival({"name": mark}, room, type="m.room.name", state_key="", depth=2)
    async with tenant_tx(archive.pool, 2) as tx:
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (2, $1, '11', 'join', '@a:x')", room
        )
        await append(tx, archive.other, [said, name])
        await media.enqueue(tx, archive.other, [said])
        address = await files.write(archive.other, tx, room, moment(said.event["origin_server_ts"]), mark.encode())
        await tx.execute(media.STORED, 2, room, said.event_id, "file", address, len(mark), None)
        while await project_batch(tx, archive.other, BlindIndex(archive.other.search_key)):
            pass
        await grant(tx, 2, "beheer", mark, Role.ADMIN, reason=mark)
        await sound(tx, 2, mark, "removed", mark)
        with doing(Purpose(mark, mark)):
            await note(tx, 2, mark, "read", room_id=room, why=mark)
        who = SignedIn("https://sso.x", mark, None, mark, mark, None, frozenset({Role.ADMIN}))
        token, session = await sessions.start(tx, archive.other, who, Settings().web)
        # Asked for by somebody who is called the same here.
        asked = {"rooms": [room], "format": "jsonl", "start": None, "end": None, "language": "nl"}
        job_id = await jobs.start(tx, archive.other, "gelijknamig", "export", asked)
        search_id = await saved.keep(tx, archive.other, "gelijknamig", mark, [("q", mark)])
    assert await Workshop(Archive(Settings(), archive.pool, archive.other, files), {"export": export}).do_next(asyncio.Event())
    async with registry.changing(archive.pool, 2, mark, mark) as tx:
        official = await registry.add_official(tx, 2, mark, mark)
        term = {"matrix_id": f"@{mark}:x", "function": mark, "unit": mark, "from_day": "2026-01-01", "until_day": "", "sole": ""}
        entry = await registry.add(tx, 2, mark, TERM, official, TERM.read(Fields(term)))
    table = f"naam;matrix-id;functie;onderdeel;vanaf\n{mark};@{mark}:x;{mark};{mark};2026-01-01\n".encode()
    upload = await importing.keep(archive.pool, archive.other, "gelijknamig", f"{mark}.csv", table)
    parts = {"room_id": room, "event_id": said.event_id, "job_id": str(job_id), "search_id": str(search_id)}
    more = {"official": str(official), "entry": str(entry), "kind": "term", "import_id": str(upload), "export_id": str(job_id)}
    more |= {"person": mark, "role": "admin", "session_id": str(session.session_id), "token_id": str(session.session_id)}
    more |= {"number": "1", "account": "1"}  # the bridge's own: not in this database
    return Elsewhere(mark, parts | {"file": "pages.css", "token": token, "session": str(session.session_id)} | more, folder)


def address(path: str, parts: dict[str, str]) -> str:
    """Where another organisation's thing would be. A part that nothing stands for fails the test: add it to `elsewhere`."""
    return re.sub(r"{(\w+)}", lambda part: quote(parts[part[1]], safe=""), path)


def shows(page: str, mark: str, path: str) -> bool:
    """Whether the mark is there, beyond where a page repeats what it was asked: in its form, in links, in the trail."""
    if path.startswith("/audit"):
        return f"<bdi>{mark}</bdi>" in page or f",{mark}," in page
    if path.startswith("/api/v1/audit"):
        return f'"actor": "{mark}"' in page or f'"person": "{mark}", "action"' in page
    return mark in re.sub(r'(value|href|content)="[^"]*"', "", page)


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
async def test_nothing_of_another_organisation_is_found(archive, elsewhere, method, path):
    rule, mark = ROUTES[method, path], elsewhere.mark
    roles = sorted(rule) if isinstance(rule, frozenset) else [Role.RECORDS_OFFICER]
    where = address(path, elsewhere.parts)
    asked = dict.fromkeys(("q", "room", "person", "purpose", "case", "official", "sender", "filter"), mark)
    async with served(archive, elsewhere.folder) as client:
        for role in roles:
            form = use(client, await session_of(archive, role, person="gelijknamig", matrix_id="@minister:x"))
            headers = {FORM_TOKEN: form}
            for query in ({}, {"before": "x"}) if method == "GET" and "/api/" not in path else ({},):
                data = asked | {"form_token": form, "session": elsewhere.parts["session"]} if method == "POST" else None
                answer = await client.request(method, where, params=query, data=data, headers=headers, allow_redirects=False)
                body = await answer.read()
                if "{" in path and path != "/static/{file}":
                    assert answer.status in OTHERWISE.get((method, path), {404}), (role, answer.status)
                assert answer.status != 500
                assert method != "GET" or not shows(body.decode("utf-8", "replace"), mark, path), role
            if method == "GET" and isinstance(rule, frozenset) and "{" not in path:
                for query in ({"q": mark}, {"person": mark}, {"purpose": mark, "case": mark}, asked):
                    found = await (await client.get(where, params=query, allow_redirects=False)).text()
                    assert not shows(found, mark, path), (role, query)
    if isinstance(rule, Whoever):
        return
    async with tenant_tx(archive.pool, 2) as tx:  # and nothing of theirs was changed
        assert await tx.fetchval("SELECT count(*) FROM web_session WHERE person = $1", mark) == 1
        assert await tx.fetchval("SELECT sealed IS NOT NULL FROM official_import WHERE made_by = 'gelijknamig'")
        assert await tx.fetchval("SELECT state FROM job WHERE person = 'gelijknamig'") == "done"
        assert await tx.fetchval("SELECT count(*) FROM role_change WHERE person = $1", mark) == 1


async def test_another_organisations_cookie_opens_nothing(archive, elsewhere):
    async with served(archive, elsewhere.folder) as client:
        use(client, elsewhere.parts["token"])
        for (method, path), rule in ROUTES.items():
            if rule is not Whoever.OPEN:
                answer = await client.request(method, address(path, elsewhere.parts), allow_redirects=False)
                assert answer.status == 401, (method, path)


async def test_every_table_is_an_organisations_own_by_a_policy_that_is_forced(archive):
    async with archive.pool.acquire() as connection:
        tables = {row["relname"]: row for row in await connection.fetch(TABLES)}
    assert set(tables) > {"record", "audit", "job", "purpose_policy", "web_session"}
    for name, table in tables.items():
        if name in NOBODYS:
            continue
        assert table["owned"], f"{name} has no org that must be filled in"
        assert table["guarded"], f"row-level security is not forced on {name}"
        assert table["policies"], f"{name} has no policy"
        for policy in table["policies"]:  # each permissive one opens: none may open more than the organisation's own
            using, check = policy.split(" / ")
            for part in (using, check):
                assert re.match(r"\(org = .*griffier\.org", part), f"{name}: {policy}"
                assert " OR " not in part, f"{name}: {policy}"


async def test_the_roles_that_serve_requests_can_not_look_past_the_policies(archive):
    async with archive.pool.acquire() as connection:
        roles = await connection.fetch(RIGHTS)
        assert {row["rolname"] for row in roles} == {"griffier_service", "griffier_official"}
        for row in roles:
            assert not any(row[right] for right in ("unbound", "signs_in", "owns", "belongs")), dict(row)
        assert await connection.fetch(RUNS_AS_OWNER) == []
    async with tenant_tx(archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT current_user") == "griffier_service"


async def test_no_row_of_another_organisation_is_seen_or_written_in_any_table(archive, elsewhere):
    async with archive.pool.acquire() as connection:
        names = [row["relname"] for row in await connection.fetch(TABLES) if row["relname"] not in NOBODYS]
        theirs = {name: await connection.fetchval(f"SELECT count(*) FROM {name} WHERE org = 2") for name in names}
    assert sum(map(bool, theirs.values())) > 8
    for name in names:
        try:
            async with tenant_tx(archive.pool, 1) as tx:
                assert await tx.fetchval(f"SELECT count(*) FROM {name} WHERE org <> 1") == 0, name
        except asyncpg.InsufficientPrivilegeError:
            continue
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute("SET LOCAL griffier.org = ''")  # nobody's transaction sees nothing
            assert await tx.fetchval(f"SELECT count(*) FROM {name}") == 0, name
        if theirs[name]:
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
                async with tenant_tx(archive.pool, 1) as tx:
                    await tx.execute(f"INSERT INTO {name} (org) VALUES (2)")


async def test_a_result_of_one_organisation_is_not_opened_by_another(archive, elsewhere):
    async with tenant_tx(archive.pool, 2) as tx:
        job = await jobs.one(tx, 2, "gelijknamig", UUID(elsewhere.parts["job_id"]))

    for context in (f"result|1|{job.job_id}|1", f"result|2|{job.job_id}|2"):
        with pytest.raises(SealingError):
            archive.vault.unwrap(job.wrapped_key, context)
