"""Whose word a webhook delivery is: who signed it, for which account it may speak, how old it is, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from bridge.network.cloud import signature_ok
from bridge.network.cloud.delivery import objects
from bridge.network.cloud.parts import number_of
from bridge.numbers import SETTINGS_ACCOUNT, BusinessAccount, Numbers

DATED = {"messages": ("messages", "statuses"), "smb_message_echoes": ("message_echoes",)}
"""Fields whose items are of now. What is told of the time before a number was connected is old by nature."""
FOREIGN = "of another account than its signer's"
YEAR_2100 = 4_102_444_800

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Sorted:
    """A delivery, by whose it is: what its signer may say, what it may not, and the numbers that it speaks of."""

    body: dict[str, Any]
    foreign: list[dict[str, Any]]  # entries about another account than the signer's
    served: frozenset[str]
    unknown: frozenset[str]


def signed_by(raw: bytes, header: str | None, numbers: Numbers) -> frozenset[str]:
    """The accounts with whose secret these exact bytes are signed, by their ids; SETTINGS_ACCOUNT for the settings file's own.

    All secrets are tried, whichever fits: the time taken tells nothing.
    """
    secrets = {account.waba_id: numbers.secret(account) for account in (BusinessAccount(SETTINGS_ACCOUNT), *numbers.accounts())}
    fitting = [secret for secret in set(secrets.values()) if signature_ok(secret, raw, header)]
    return frozenset([waba_id for waba_id, secret in secrets.items() if secret in fitting])


def sort_out(body: dict[str, Any], numbers: Numbers, signers: frozenset[str]) -> Sorted:
    """Keep accounts apart: a delivery about a number must bear its account's id and be signed with its account's secret.

    `signers`: the ids of the accounts with whose secret it is signed.
    """
    accounts = {account.waba_id: account for account in numbers.accounts()}
    only = next(iter(accounts.values())) if len(accounts) == 1 else None
    foreign: list[dict[str, Any]] = []
    told_of: set[str] = set()
    unknown: set[str] = set()
    entries = body.get("entry")
    if not isinstance(entries, list):
        return Sorted(body, [], frozenset(), frozenset())
    kept: list[Any] = []
    for entry in entries:
        if not isinstance(entry, dict):
            kept.append(entry)
            continue
        waba_id = str(entry.get("id", ""))
        own, others = [], []
        changes = entry.get("changes")
        for change in changes if isinstance(changes, list) else [changes]:
            number_id = number_of(change)
            served = numbers.of(number_id) is not None
            # Of a number whose account is not known any more only the one account that there is can be the owner.
            account = numbers.account_of(number_id) or (only if served else None)
            # What names no number is about a whole account; one without a name may be the settings file's.
            of_entry = accounts.get(waba_id) or (None if number_id else accounts.get(SETTINGS_ACCOUNT))
            if (served and account is None) or not _may_speak(signers, account, of_entry, waba_id):
                others.append(change)
                continue
            own.append(change)
            if number_id:
                (told_of if served else unknown).add(number_id)
        if others:
            foreign.append(entry | {"changes": others})
        if own or not others:
            kept.append(entry | {"changes": own} if others else entry)
    return Sorted(body | {"entry": kept}, foreign, frozenset(told_of), frozenset(unknown))


def _may_speak(
    signers: frozenset[str], of_number: BusinessAccount | None, of_entry: BusinessAccount | None, waba_id: str
) -> bool:
    if of_number is None:  # of a number that we don't serve, or of an account as a whole
        return of_entry is None or of_entry.waba_id in signers
    # The account of the settings file may have no id there: then any is its, but those of the accounts that we know.
    named = of_number.waba_id == waba_id if of_number.waba_id else of_entry is None or of_entry == of_number
    return named and of_number.waba_id in signers


def newest(body: dict[str, Any]) -> datetime | None:
    """The latest moment that a delivery names for something of now; None when it names none."""
    times = [moment for moment in _times(body) if 0 < moment < YEAR_2100]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _times(body: dict[str, Any]) -> Iterator[int]:
    for entry in objects(body.get("entry")):
        for change in objects(entry.get("changes")):
            value = change.get("value")
            if not isinstance(value, dict):
                continue
            for name in DATED.get(str(change.get("field")), ()):
                for item in objects(value.get(name)):
                    told = str(item.get("timestamp", ""))
                    if told.isascii() and told.isdecimal() and len(told) <= 12:
                        yield int(told)


def caller(peer: str, forwarded: str, proxies: Sequence[Network]) -> IPv4Address | IPv6Address | None:
    """Who calls: the peer, or, behind proxies that we trust, the last address in X-Forwarded-For that is none of theirs.

    What stands before that was written by the caller. None when it can't be told.
    """
    chain = [part.strip() for part in forwarded.split(",") if part.strip()]
    address = _address(peer)
    while address is not None and chain and within(address, proxies):
        address = _address(chain.pop())
    return address


def within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of these networks."""
    return any(address.version == network.version and address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
