"""Whether a number is connected is judged from what WhatsApp says, and from what it leaves unsaid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.network import Held, NetworkError
from bridge.probing import judge
from bridge.pulse import DOWN, Pulse, Signs, silent_since, was_down
from bridge.setback import setback

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LIMIT = timedelta(minutes=5)


def test_a_webhook_that_does_not_answer_a_sent_message_is_silent_since_then():
    sent = NOW - timedelta(minutes=6)
    assert silent_since(Signs(NOW - timedelta(hours=3), sent), NOW, LIMIT) == sent


def test_it_is_given_time():
    assert silent_since(Signs(None, NOW - timedelta(minutes=4)), NOW, LIMIT) is None


def test_where_nothing_was_sent_silence_tells_nothing():
    assert silent_since(Signs(NOW - timedelta(days=9)), NOW, LIMIT) is None
    assert silent_since(Signs(), NOW, LIMIT) is None


def test_any_delivery_is_a_sign_of_life_and_the_next_message_waits_anew():
    pulse = Pulse()
    pulse.sent("1", NOW - timedelta(minutes=9))
    pulse.sent("1", NOW - timedelta(minutes=1))
    assert silent_since(pulse.of("1"), NOW, LIMIT) == NOW - timedelta(minutes=9)
    pulse.heard("1", NOW)
    assert pulse.of("1") == Signs(NOW)
    later = NOW + timedelta(minutes=10)
    assert silent_since(pulse.of("1"), later, LIMIT) is None
    pulse.sent("1", NOW + timedelta(minutes=2))
    assert silent_since(pulse.of("1"), later, LIMIT) == NOW + timedelta(minutes=2)
    assert pulse.of("2") == Signs()


def test_a_restart_is_no_interruption_and_a_standstill_is():
    assert was_down(None, NOW) is None
    assert was_down(NOW - DOWN, NOW) is None
    beat = NOW - DOWN - timedelta(seconds=1)
    assert was_down(beat, NOW) == beat


def error(code: int | None, text: str = "x") -> NetworkError:
    made = NetworkError(f"WhatsApp refused: {text} ({code})" if code is not None else "WhatsApp does not answer", final=False)
    if code is not None:
        made.code = code  # type: ignore[attr-defined]
    return made


def test_a_number_that_answers_well_is_well_and_ends_every_interruption():
    told = judge({"status": "CONNECTED", "quality_rating": "GREEN", "is_on_biz_app": True}, {"data": [{"id": "1"}]})
    assert told.good
    assert told.on_phone is True
    assert told.causes == {"token-refused": False, "disconnected": False, "not-connected": False}


@pytest.mark.parametrize("status", ["DISCONNECTED", "banned", "DELETED"])
def test_a_number_that_whatsapp_took_away_is_disconnected(status):
    assert judge({"status": status}, None).causes["disconnected"]


def test_an_account_without_our_subscription_is_not_connected():
    told = judge({"status": "CONNECTED"}, {"data": []})
    assert told.causes["not-connected"]
    assert not told.good


def test_a_refused_token_is_told_from_a_number_that_is_not_there():
    assert judge(error(190), None).causes == {"token-refused": True}
    assert judge(error(200), None).causes == {"token-refused": True}
    assert judge(error(100), None).causes == {"token-refused": False, "not-connected": True}


@pytest.mark.parametrize("code", [None, 4, 130429, 2])
def test_a_busy_or_absent_whatsapp_interrupts_nothing_and_ends_nothing_it_cannot_know(code):
    told = judge(error(code), None)
    assert not any(told.causes.values())
    assert "disconnected" not in told.causes
    assert not told.good


def test_a_subscription_that_could_not_be_asked_for_tells_nothing():
    assert "not-connected" not in judge({"status": "CONNECTED"}, error(4)).causes


@pytest.mark.parametrize("waited", [0.0, 3600.0, 90 * 86400.0])
def test_what_a_pause_holds_is_never_given_up(waited):
    told = setback(Held("paused"), 1000, waited, 0.5)
    assert (told.state, told.counted, told.alarm) == ("waiting", False, False)
    assert 0 < told.after <= 60
