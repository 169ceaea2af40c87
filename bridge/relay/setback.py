"""What becomes of a message that could not be carried over: when it is tried again, what waits with it, when it is set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import aiohttp
from mautrix.errors import MatrixConnectionError, MatrixRequestError

from bridge.network import Behind, Held, NetworkError, NotUnderstood, NotYet

NOT_YET = 120.0  # seconds that a message waits for what it needs
GIVE_UP = 48 * 3600.0  # seconds that a message waits for a network or a homeserver that is away
TRIES_NETWORK = 20  # of a message that the network fails on: about an hour
TRIES = 8  # of a message that nothing is known to be wrong with but that never succeeds: about a minute
LONGEST = 300.0  # seconds between two attempts
BEHIND_AGAIN = 5.0  # seconds until it is seen whether what was said before went, where nothing tells of it
PROBE = 15.0  # seconds between two attempts at a side that is away

Pause = Literal["", "number", "account", "all"]
State = Literal["waiting", "aside", "kept", "failed"]


@dataclass(frozen=True, slots=True)
class Setback:
    """What to do with a message that was not carried over."""

    state: State
    after: float = 0  # seconds until the next attempt
    counted: bool = True  # whether this was one of a limited number of attempts
    pause: Pause = ""  # what else waits as long
    awaits: str = ""
    unsure: bool = False  # the network may have it
    alarm: bool = False


def cause(error: Exception) -> str:
    """What a message waits for: how long it does is counted for each apart."""
    if isinstance(error, Held | Behind):
        return "held"
    if isinstance(error, NotYet):
        return "not-yet"
    if isinstance(error, NetworkError):
        return "network"
    return "homeserver" if _away(error) else "other"


def setback(error: Exception, attempt: int, waited: float, chance: float, *, inward: bool = False) -> Setback:
    """After the `attempt`-th failure (from 1) of a message that has waited for the same for `waited` seconds.

    `chance` is in [0, 1).

    `inward`: it comes from WhatsApp, which has had our word that we have it: it waits as long as the homeserver is away.
    """
    jitter = 0.8 + 0.4 * chance
    counted = min(LONGEST, 0.5 * 2.0 ** min(attempt - 1, 12)) * jitter
    probing = min(PROBE, max(0.5, waited)) * jitter  # as long again as it has lasted
    if isinstance(error, NotUnderstood):
        return Setback("kept")
    if isinstance(error, Held):
        return Setback("waiting", PROBE, counted=False)
    if isinstance(error, Behind | NotYet):
        return _before_it(error, waited, counted)
    if isinstance(error, NetworkError):
        return _network(error, attempt, waited, max(error.after, probing), max(error.after, counted))
    if _away(error):
        if waited >= GIVE_UP and not inward:
            return Setback("failed", alarm=True)
        return Setback("waiting", probing, counted=False, pause="all")
    if isinstance(error, MatrixRequestError) and error.http_status == 429:
        return Setback("waiting", probing, counted=False)
    if attempt >= TRIES or (isinstance(error, MatrixRequestError) and error.http_status in (400, 413)):
        return Setback("failed", alarm=True)
    return Setback("waiting", counted)


def telling(error: Exception, attempt: int, chance: float) -> Setback:
    """After the `attempt`-th failure to tell people of a message that was given up: failed when they can't be told at all."""
    if isinstance(error, MatrixRequestError) and error.http_status in (403, 404):
        return Setback("failed")
    return setback(error, attempt, 0, chance, inward=True)


def _before_it(error: Behind | NotYet, waited: float, counted: float) -> Setback:
    if isinstance(error, Behind):
        return Setback("aside", BEHIND_AGAIN, counted=False, awaits=error.awaits)
    if waited >= NOT_YET:
        return Setback("kept", awaits=error.awaits)
    return Setback("aside" if error.awaits else "waiting", min(counted, PROBE), awaits=error.awaits)


def _network(error: NetworkError, attempt: int, waited: float, probing: float, counted: float) -> Setback:
    if error.final:
        return Setback("failed")  # told to who sent it: no fault of ours
    if error.scope == "message":
        if attempt >= TRIES_NETWORK:
            return Setback("failed", unsure=error.unsure, alarm=True)
        return Setback("waiting", counted, unsure=error.unsure)
    if waited >= GIVE_UP:
        return Setback("failed", unsure=error.unsure, alarm=True)
    return Setback("waiting", probing, counted=False, pause=error.scope, unsure=error.unsure)


def _away(error: Exception) -> bool:
    """Whether the homeserver is away, or does not know us: no fault of the message's."""
    if isinstance(error, MatrixRequestError):
        return error.http_status in (401, 502, 503, 504)
    return isinstance(error, MatrixConnectionError | aiohttp.ClientError | OSError | TimeoutError)


def reason(error: Exception) -> str:
    """What went wrong, in words that hold nothing of the message (promise 7): only our own errors speak for themselves."""
    if isinstance(error, NetworkError | NotUnderstood | NotYet | Held | Behind):
        return str(error)
    code = getattr(error, "errcode", None)
    return f"{type(error).__name__} {code}" if isinstance(code, str) else type(error).__name__
