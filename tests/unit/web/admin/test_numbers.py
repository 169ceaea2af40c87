"""Bridged numbers: the admin's pages against the bridge's own provisioning API, on a real Postgres and the simulated WhatsApp."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from archiver.settings import Settings
from archiver.web.admin.bridge import Away, NotSet, bridge
from bridge.listening import serving
from tests.unit.bridge.conftest import sim  # noqa: F401 - a fixture
from tests.unit.bridge.simulated import NUMBER, free_port
from tests.unit.bridge.test_administration import MINISTER, OTHER, Bureau, bureau  # noqa: F401 - a fixture
from tests.unit.web.admin.desk import at_work, somebody
from tests.unit.web.admin.test_officials import trail

pytestmark = pytest.mark.postgres

HERE = "/admin/bridge"
THERE = f"{HERE}/numbers/{NUMBER}"
SHOWN = "+31 97 0102 03040"


def settings(url: str, token: str = "open") -> Settings:
    return Settings(web={"bridge": {"url": url, "token": token}})


async def test_an_admin_does_with_a_number_what_the_commands_do(archive, tmp_path, bureau: Bureau):  # noqa: F811
    name = somebody()
    async with at_work(archive, tmp_path, settings(bureau.api)) as desk:
        page = await desk.official(name, matrix_id=f"@minister{name[-4:]}:rijk", from_day="2025-01-01")
        text = await desk.open(HERE)
        assert SHOWN in text
        assert MINISTER in text
        assert "nog niet getest" in text
        await desk.send(page + "/channel/new", number=SHOWN, from_day="2025-01-01", until_day="2200-01-01")
        assert f"<bdi>{name}</bdi></a>" in await desk.open(HERE)
        assert "iemand anders dan hier" in await desk.open(THERE)
        assert (await desk.send(THERE, do="test")).endswith("?done=test")
        assert "ook in gebruik" in (text := await desk.open(THERE + "?done=test")) or "niet in gebruik" in text
        assert bureau.watch.last[NUMBER][1].good
        await desk.send(THERE, do="pause")
        assert bureau.numbers.paused(NUMBER)
        text = await desk.open(THERE)
        assert "gepauzeerd" in text
        assert "Hervatten" in text
        assert "de beheerder had het gepauzeerd" in text
        [pause] = await bureau.interruptions.latest(NUMBER)
        assert pause.detail == desk.person  # the bridge knows who did it
        await desk.send(THERE, do="resume")
        assert not bureau.numbers.paused(NUMBER)
        await desk.send(THERE, do="add colleague", user=OTHER)
        assert bureau.numbers.of(NUMBER).colleagues == (OTHER,)
        assert f"Verwijderen: {OTHER}" in await desk.open(THERE)
        await desk.send(THERE, do="remove colleague", user=OTHER)
        await desk.send(THERE, do="assign", user=OTHER, account="")
        assert bureau.numbers.of(NUMBER).official == OTHER
        text = await desk.open(THERE)
        assert text.count(desk.person) >= 3  # in whose it was, with who set it
        assert "Niet meer bedienen" in await desk.open(THERE + "/remove")
        assert (await desk.send(THERE, do="remove")).startswith(HERE + "?")
        assert bureau.numbers.of(NUMBER) is None
        await desk.open(THERE, 404)
        await desk.send(THERE, 404, do="vernietig")
        told = [detail for action, detail in await trail(archive, desk.person) if action == "change bridge"]
    assert [each["what"] for each in told] == [
        "test", "pause", "resume", "add colleague", "remove colleague", "assign", "remove",
    ]  # fmt: skip
    assert told[5] == {"what": "assign", "number": NUMBER, "user": OTHER}


async def test_an_account_is_connected_and_its_token_is_nowhere(archive, tmp_path, bureau: Bureau):  # noqa: F811
    await bureau.second_account()
    async with at_work(archive, tmp_path, settings(bureau.api)) as desk:
        form = {"waba_id": "200", "name": "Tweede", "token": "token-fout", "app_secret": ""}
        refused = await desk.send(HERE + "/accounts", 409, **form)
        assert "WhatsApp aanvaardt dit niet" in refused
        assert 'value="200"' in refused
        assert "token-fout" not in refused
        await desk.send(HERE + "/accounts", **form | {"token": "token-twee"})
        assert "Tweede" in await desk.open(HERE)
        await desk.send(HERE + "/numbers", number="777", account="200", official=OTHER, label="pers")
        assert bureau.numbers.of("777").official == OTHER
        assert "Ontkoppel eerst" in await desk.send(HERE + "/accounts/200/forget", 409)
        await desk.send(HERE + "/numbers/777", do="remove")
        await desk.send(HERE + "/accounts/200/forget")
        assert "Tweede" not in await desk.open(HERE)
        assert "token-" not in json.dumps(await trail(archive, desk.person))


async def test_what_the_bridge_refuses_is_told_with_its_reason_and_what_was_typed(archive, tmp_path, bureau: Bureau):  # noqa: F811
    async with at_work(archive, tmp_path, settings(bureau.api)) as desk:
        page = await desk.send(HERE + "/numbers", 409, number="1", account="", official="@x:elders", label="pers<b>")
        assert "geen Matrix-account hier" in page
        assert 'value="@x:elders"' in page
        assert "pers&lt;b&gt;" in page
        assert "al van deze persoon" in await desk.send(THERE, 409, do="add colleague", user=MINISTER)
        assert "is er niet" in await desk.send(HERE + "/retry", 409, item="in-999")
        await desk.open(f"{HERE}/numbers/..%2F..%2Faccounts", 404)
        answer = await desk.client.post(
            THERE + "?lang=en", data={"form_token": desk.token, "do": "add colleague", "user": MINISTER}
        )
        assert "this person's already" in (await answer.text()).replace("&#39;", "'")
        actions = [action for action, _ in await trail(archive, desk.person)]
        assert actions.count("bridge refused") == 4


async def test_what_failed_is_listed_and_tried_again(archive, tmp_path, bureau: Bureau):  # noqa: F811
    told = {"from": "316", "id": "w9", "type": "text", "timestamp": "1700000000", "text": {"body": "geheime inhoud"}}
    value = {"metadata": {"phone_number_id": NUMBER}, "messages": [told]}
    raw = json.dumps({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}).encode()
    await bureau.relay.reject(raw, "older than bridge.replay_days", [""])
    await bureau.watch.look()
    async with at_work(archive, tmp_path, settings(bureau.api)) as desk:
        text = await desk.open(HERE)
        for words in ("delivery-1", "older than bridge.replay_days", "zijn apart gezet"):
            assert words in text
        assert "geheime inhoud" not in text
        await desk.send(HERE + "/retry", item="delivery-1")
        assert await bureau.pool.fetchval("SELECT count(*) FROM inbox") == 1
        assert "Alles is overgebracht" in await desk.open(HERE)


async def test_a_bridge_that_is_away_is_told_and_nothing_else_breaks(archive, tmp_path):
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with at_work(archive, tmp_path, settings(nowhere)) as desk:
        for path in (HERE, THERE):
            assert "niet bereikbaar" in await desk.open(path, 502)
        assert "niet bereikbaar" in await desk.send(THERE, 502, do="pause")
        assert "kan niet worden gevraagd" in await desk.open("/health")
    async with at_work(archive, tmp_path) as desk:
        assert "Er is geen brug ingesteld" in await desk.open(HERE)


async def test_a_wrong_token_is_told_as_such(archive, tmp_path, bureau: Bureau):  # noqa: F811
    async with at_work(archive, tmp_path, settings(bureau.api, "verkeerd")) as desk:
        assert "web.bridge.token" in await desk.open(HERE, 502)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"geen json"),
        (200, b"[1]"),
        (200, b'{"numbers": 3}'),
        (200, b'{"numbers": [{"number": {}}]}'),
        (302, b""),
        (500, b"<h1>"),
        (204, b""),
    ],
)
async def test_whatever_answers_in_the_bridge_s_place_breaks_no_page(archive, tmp_path, status, body):
    asked = []

    async def anything(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return web.Response(status=status, body=body, headers={"Location": "/elders"} if status == 302 else {})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", anything)
    port = free_port()
    async with (
        serving(app, "127.0.0.1", port, patience=5),
        at_work(archive, tmp_path, settings(f"http://127.0.0.1:{port}")) as desk,
    ):
        await desk.open(HERE, 502)
        await desk.open("/health")
    assert set(asked) == {"Bearer open"}


async def test_a_name_with_odd_letters_is_passed_on_without_breaking_the_request(bureau: Bureau):  # noqa: F811
    async with bridge(settings(bureau.api).web.bridge, "Zoë\r\nX-Evil: 1 😀") as there:
        await there.do(NUMBER, "pause")
    [pause] = await bureau.interruptions.latest(NUMBER)
    assert pause.detail.startswith("Zo%C3%AB%0D%0AX-Evil: 1 ")
    with pytest.raises(NotSet):
        async with bridge(Settings().web.bridge, "x"):
            pass
    with pytest.raises(Away):
        async with bridge(settings("http://[::1").web.bridge, "x") as there:
            await there.health()
