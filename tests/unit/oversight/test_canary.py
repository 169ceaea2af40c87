"""A round that can't even begin is a round: incomplete, noted with its reason, and an alarm."""

import json

import pytest

from archiver.db import tenant_tx
from archiver.ledger import alarm
from archiver.oversight import rounds
from archiver.oversight.canary import once, require
from archiver.settings import Settings, SettingsError

PAIR = {"sender": "@een:x", "sender_password": "geheim1", "receiver": "@twee:x", "receiver_password": "geheim2"}


async def test_a_homeserver_that_does_not_answer_is_the_reason_of_all_four(archive, tmp_path):
    settings = Settings(data_dir=tmp_path, homeserver={"url": "http://127.0.0.1:9"}, canary={**PAIR, "limit": 0.5})
    done = await once(settings, archive.pool, archive.vault)
    assert not done.complete
    assert set(done.lacking) == set(rounds.PARTS)
    assert all(why.startswith("it was not sent: ") for why in done.lacking.values())
    async with tenant_tx(archive.pool, 1) as tx:
        told = await rounds.summary(tx, 1)
        [sounding] = await alarm.sounding(tx, 1)
    assert (told.last.started_at, told.last.lacking, told.last.room_id) == (done.started_at, done.lacking, None)
    assert sounding["kind"] == alarm.CANARY
    assert "geheim" not in json.dumps(told.to_json(0, done.started_at)) + sounding["detail"]
    assert (tmp_path / "canary").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [({"sender_password": ""}, "canary.sender_password"), ({"receiver": ""}, "canary.receiver"), ({"receiver": "@een:x"}, "two")],
)
def test_a_pair_that_is_no_pair_is_refused_with_the_setting_to_set(change, told):
    require(Settings(canary=PAIR))
    with pytest.raises(SettingsError, match=told):
        require(Settings(canary=PAIR | change))
