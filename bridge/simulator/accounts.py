"""Business accounts as settings and the control API write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bridge.simulator.templates import listed, samples
from bridge.simulator.world import Account, Number, Template


def number_from(told: dict[str, Any]) -> Number:
    """A number as settings and the control API write it."""
    names = ("official", "name", "coexistence", "registered")
    given = {name: told[name] for name in names if name in told}
    return Number(str(told["id"]), str(told["display_phone_number"]), **given)


def account_from(told: dict[str, Any]) -> Account:
    """An account as settings and the control API write it."""
    account = Account(
        id=str(told["id"]),
        access_token=str(told["access_token"]),
        webhook_url=str(told["webhook_url"]),
        app_secret=str(told["app_secret"]),
        verify_token=str(told["verify_token"]),
        name=str(told.get("name", "")),
        portfolio=str(told.get("portfolio", "1")),
    )
    account.numbers = [number_from(one) for one in told.get("numbers", [])]
    account.templates = [Template(**one) for one in told["templates"]] if "templates" in told else samples()
    account.subscribed = bool(told.get("subscribed", True))
    return account


def copied(account: Account) -> Account:
    numbers = [replace(number, synced=set(number.synced), sent_at=[]) for number in account.numbers]
    return replace(account, numbers=numbers, templates=list(account.templates))


def told_number(number: Number) -> dict[str, Any]:
    names = ("id", "display_phone_number", "official", "name", "coexistence", "registered")
    return {name: getattr(number, name) for name in names}


def told_account(account: Account) -> dict[str, Any]:
    told = {name: getattr(account, name) for name in ("id", "name", "portfolio", "webhook_url", "subscribed", "connected")}
    return told | {
        "numbers": [told_number(number) for number in account.numbers],
        "templates": [listed(template) for template in account.templates],
    }
