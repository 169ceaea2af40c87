"""Officials from a file: the upload, the preview, doing it, and undoing it."""

from __future__ import annotations

from aiohttp import web

from archiver.db import tenant_tx
from archiver.export.catalogue import N_
from archiver.ledger.audit import note
from archiver.web.admin import importing
from archiver.web.admin.importing import first
from archiver.web.admin.page import form_of, page, word
from archiver.web.admin.registry import Refused
from archiver.web.admin.table import Unreadable
from archiver.web.context import ARCHIVE
from archiver.web.posted import Upload

routes = web.RouteTableDef()

NO_FILE = N_("Choose a file.")


@routes.get("/admin/officials/import")
async def start(request: web.Request) -> web.StreamResponse:
    """The form for a file, and what was imported before."""
    return await _start(request)


@routes.post("/admin/officials/import")
async def upload(request: web.Request) -> web.StreamResponse:
    """A file, to look at first."""
    archive, file = request.app[ARCHIVE], (await form_of(request)).get("file")
    if not isinstance(file, Upload) or not file.file_name:
        return await _start(request, NO_FILE, status=422)
    try:
        import_id = await importing.keep(archive.pool, archive.vault, request["actor"], file.file_name, file.data)
    except Unreadable as error:
        return await _start(request, error.why, error.columns, 422)
    raise web.HTTPSeeOther(f"/admin/officials/import/{import_id}")


@routes.get("/admin/officials/import/{import_id}")
async def preview(request: web.Request) -> web.StreamResponse:
    """What a file would change."""
    return await _preview(request)


@routes.post("/admin/officials/import/{import_id}")
async def decide(request: web.Request) -> web.StreamResponse:
    """Do it, or throw the file away."""
    archive, form, import_id = request.app[ARCHIVE], await form_of(request), word(request, "import_id")
    if form.get("do") != "import":
        await importing.forget(archive.pool, archive.vault.org, request["actor"], import_id)
        raise web.HTTPSeeOther("/admin/officials/import")
    try:
        done = await importing.confirm(archive.pool, archive.vault, request["actor"], import_id, str(form.get("plan", "")))
    except Refused as refused:
        return await _preview(request, refused.problems, 409)
    if done is None:
        raise web.HTTPNotFound
    raise web.HTTPSeeOther("/admin/officials/import?done=imported")


@routes.get("/admin/officials/import/{import_id}/undo")
async def ask_undo(request: web.Request) -> web.StreamResponse:
    """Whether an import is to be undone."""
    return await _undo(request)


@routes.post("/admin/officials/import/{import_id}/undo")
async def undo(request: web.Request) -> web.StreamResponse:
    """Undo an import."""
    archive, import_id = request.app[ARCHIVE], word(request, "import_id")
    try:
        undone = await importing.undo(archive.pool, archive.vault.org, request["actor"], import_id)
    except Refused as refused:
        return await _undo(request, refused.problems, 409)
    if not undone:
        raise web.HTTPNotFound
    raise web.HTTPSeeOther("/admin/officials/import?done=undone")


async def _start(request: web.Request, why: str = "", columns: tuple[str, ...] = (), status: int = 200) -> web.Response:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        past = await importing.imports(tx, archive.vault.org)
    return page(request, "import.html", status, why=why, columns=columns, past=past)


async def _preview(request: web.Request, problems: dict[str, str] | None = None, status: int = 200) -> web.Response:
    archive, import_id = request.app[ARCHIVE], word(request, "import_id")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "preview import of officials", import_id=str(import_id))
    plan = await importing.preview(archive.pool, archive.vault, request["actor"], import_id)
    if plan is None:
        raise web.HTTPNotFound
    return page(request, "preview.html", status, plan=plan, rows=first(plan.rows), problems=problems or {})


async def _undo(request: web.Request, problems: dict[str, str] | None = None, status: int = 200) -> web.Response:
    archive, import_id = request.app[ARCHIVE], word(request, "import_id")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        past = await importing.imports(tx, archive.vault.org)
    found = next((each for each in past if each.import_id == import_id and each.undone_at is None), None)
    if found is None:
        raise web.HTTPNotFound
    return page(request, "undo.html", status, found=found, problems=problems or {})
