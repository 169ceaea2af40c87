"""What becomes of a message that could not be carried over, error by error."""

from __future__ import annotations

import pytest
from mautrix.errors import MatrixConnectionError, MatrixUnknownRequestError

from bridge.network import NetworkError, NotUnderstood, NotYet
from bridge.relay.setback import GIVE_UP, NOT_YET, TRIES, TRIES_NETWORK, reason, setback


def after(error: Exception, attempt: int = 1, waited: float = 0, chance: float = 0.5):
    return setback(error, attempt, waited, chance)


def test_waits_grow_to_five_minutes_and_differ_by_chance():
    error = NetworkError("bezig", final=False)
    waits = [after(error, attempt).after for attempt in range(1, TRIES_NETWORK)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.5, 300)
    assert after(error, 5, chance=0).after < after(error, 5, chance=0.9).after


@pytest.mark.parametrize("scope", ["message", "number", "account"])
def test_what_the_network_asks_to_wait_is_waited(scope):
    assert after(NetworkError("te snel", final=False, after=90, scope=scope)).after >= 90


def test_a_limit_of_a_number_or_an_account_costs_the_message_no_attempt_for_two_days():
    for scope in ("number", "account"):
        error = NetworkError("te snel", final=False, scope=scope)
        what = after(error, attempt=500, waited=GIVE_UP - 1)
        assert (what.state, what.counted, what.pause) == ("waiting", False, scope)
        assert after(error, waited=GIVE_UP).state == "failed"


def test_a_message_that_the_network_keeps_failing_on_is_set_aside_with_an_alarm():
    error = NetworkError("500", final=False)
    assert after(error, TRIES_NETWORK - 1).state == "waiting"
    assert (after(error, TRIES_NETWORK).state, after(error, TRIES_NETWORK).alarm) == ("failed", True)


def test_what_the_network_refuses_is_told_and_is_no_alarm():
    assert (after(NetworkError("131047", final=True)).state, after(NetworkError("131047", final=True)).alarm) == ("failed", False)


@pytest.mark.parametrize(
    "error",
    [
        MatrixConnectionError(),
        ConnectionRefusedError(),
        TimeoutError(),
        *(MatrixUnknownRequestError(code) for code in (401, 502, 503)),
    ],
)
def test_a_homeserver_that_is_away_is_no_fault_of_a_message(error):
    what = after(error, attempt=500, waited=3600)
    assert (what.state, what.counted, what.pause) == ("waiting", False, "all")
    assert what.after <= 18


def test_what_whatsapp_has_had_our_word_of_waits_as_long_as_the_homeserver_is_away():
    error = ConnectionRefusedError()
    assert setback(error, 1, 63 * 3600, 0.5, inward=True).state == "waiting"
    assert setback(error, 1, 63 * 3600, 0.5).state == "failed"


def test_what_the_homeserver_refuses_for_good_is_set_aside_at_once_and_the_rest_after_a_minute():
    assert after(MatrixUnknownRequestError(413)).state == "failed"
    assert after(MatrixUnknownRequestError(403), TRIES - 1).state == "waiting"
    assert after(MatrixUnknownRequestError(403), TRIES).state == "failed"
    assert after(ZeroDivisionError(), TRIES).alarm


def test_who_waits_for_a_message_waits_beside_the_chat_and_who_waits_for_a_key_in_it():
    assert (after(NotYet("nog niet", awaits="wamid.1")).state, after(NotYet("geen sleutel")).state) == ("aside", "waiting")
    assert after(NotYet("nog niet", awaits="wamid.1"), waited=NOT_YET).state == "kept"


def test_only_our_own_errors_speak_for_themselves():
    assert reason(ValueError("geheim")) == "ValueError"
    assert reason(NotUnderstood("onbekend soort")) == "onbekend soort"
