"""The shapes of the provisioning API: what goes in is checked by them, what comes out described. No token comes out."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Shape(BaseModel):
    """Comes out; what is more is left out."""

    model_config = ConfigDict(extra="ignore")


class Given(BaseModel):
    """Goes in; what is more is an error."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewAccount(Given):
    """A WhatsApp Business account: its id (WABA), a token of a system user, its app's secret where that is another app's."""

    waba_id: str = Field(pattern=r"^[0-9A-Za-z]{1,64}$")
    token: SecretStr
    app_secret: SecretStr | None = None
    name: str = Field("", max_length=100)


class NewNumber(Given):
    """A number for an official: the phone number id that Meta shows, the official's Matrix account."""

    id: str = Field(pattern=r"^[0-9A-Za-z]{1,64}$")
    official: str = Field(max_length=255)
    waba_id: str = Field("", max_length=64)
    display_phone_number: str = Field("", max_length=50)
    label: str = Field("", max_length=100)


class Retry(Given):
    """One item of /failed, or with an empty one all that came from WhatsApp."""

    item: str = Field("", max_length=40)


class Account(Shape):
    waba_id: str
    name: str


class Accounts(Shape):
    accounts: list[Account]


class FoundNumber(Shape):
    id: str
    display_phone_number: str
    name: str


class Found(Shape):
    """The numbers that the account has at WhatsApp; each is served once it is assigned."""

    numbers: list[FoundNumber]


class Number(Shape):
    id: str
    display_phone_number: str
    official: str
    waba_id: str
    label: str
    paused: bool
    colleagues: list[str]


class Numbers(Shape):
    numbers: list[Number]


class Assignment(Shape):
    user_id: str
    role: str
    valid_from: datetime
    valid_until: datetime | None
    set_by: str
    ended_by: str | None


class Assignments(Shape):
    assignments: list[Assignment]


class HistoryPhase(Shape):
    """What WhatsApp tells of before a number was connected, in phases from new to old; `percent` is of the whole."""

    phase: int
    percent: int
    began_at: datetime
    at: datetime


class History(Shape):
    phases: list[HistoryPhase]


class Probe(Shape):
    """What WhatsApp says of a number; null where it can't be told."""

    good: bool
    reachable: bool
    token_good: bool | None
    status: str
    quality: str
    name: str
    on_phone: bool | None
    subscribed: bool | None
    problem: str


class Interruption(Shape):
    """An interval that was not covered; `ended_at` is null while it lasts."""

    id: str
    number_id: str
    display: str
    official: str
    cause: str
    detail: str
    began_at: datetime
    ended_at: datetime | None


class Interruptions(Shape):
    interruptions: list[Interruption]


class Failure(Shape):
    item: str
    state: str
    problem: str
    attempts: int
    arrived_at: datetime
    number_id: str


class Failures(Shape):
    failed: list[Failure]


class Alarm(Shape):
    id: str
    kind: str
    subject: str
    count: int
    since: datetime


class NumberHealth(Shape):
    number: Number
    probe: Probe | None
    probed_at: datetime | None


class Health(Shape):
    numbers: list[NumberHealth]
    interruptions: list[Interruption]
    alarms: list[Alarm]
    waiting: dict[str, int]


class Done(Shape):
    """How many were done."""

    done: int


class Problem(Shape):
    """RFC 9457; `detail` is for people, in Dutch where there is a Dutch text."""

    type: str
    status: int
    title: str
    detail: str
