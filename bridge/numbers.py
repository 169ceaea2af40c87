"""The business numbers that the bridge serves: whose they are, and with which token WhatsApp lets us speak for them."""

from __future__ import annotations

from bridge.settings import Bridge, Number


class Numbers:
    """Every number by its id."""

    def __init__(self, settings: Bridge) -> None:
        self._settings = settings
        self._by_id = {number.id: number for number in settings.numbers}

    def of(self, number_id: str) -> Number | None:
        """The number with this id, if the bridge serves it."""
        return self._by_id.get(number_id)

    def display(self, number_id: str) -> str:
        """The number as people write it; its id when we don't serve it."""
        number = self.of(number_id)
        return number.display_phone_number if number else number_id

    def officials(self, number_id: str) -> frozenset[str]:
        """The Matrix accounts that may speak for it."""
        number = self.of(number_id)
        return frozenset({number.official}) if number else frozenset()

    def token(self, number_id: str) -> str:
        """The access token of the account that the number belongs to."""
        return self._settings.access_token.get_secret_value()
