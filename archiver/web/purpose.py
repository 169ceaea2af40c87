"""Why somebody reads what others said: asked before content opens, kept with their session for a while, and in the trail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from archiver.db import Connection
from archiver.ledger.audit import Purpose, doing, note
from archiver.ledger.canonical import column
from archiver.settings import Purposes, plain_pattern

LONGEST = 200  # characters of a purpose
LONGEST_CASE = 64
MOST_CHOICES = 50
PURPOSE_HEADERS = ("Griffier-Purpose", "Griffier-Case-Number")
POLICY = """
    SELECT required, purposes, free_text, case_number, case_pattern, minutes FROM purpose_policy
    WHERE org = $1 ORDER BY number DESC LIMIT 1
"""
CHANGE = """
    INSERT INTO purpose_policy (org, made_by, required, purposes, free_text, case_number, case_pattern, minutes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
KEEP = """
    UPDATE web_session SET purpose = $3, case_number = $4, purpose_until = now() + $5 * interval '1 minute'
    WHERE org = $1 AND session_id = $2
"""
END = """
    UPDATE web_session SET purpose = NULL, case_number = NULL, purpose_until = NULL
    WHERE org = $1 AND session_id = $2 AND purpose IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """What an organisation asks of its readers."""

    required: bool
    purposes: tuple[str, ...]
    free_text: bool
    case_number: str  # no, optional, required
    case_pattern: str
    minutes: float


@dataclass(frozen=True, slots=True)
class Stated:
    """A purpose that holds now, and until when."""

    purpose: Purpose
    until: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody answered: a purpose, or what is wrong, by field. Texts are names of what to say."""

    purpose: Purpose | None = None
    problems: Mapping[str, str] = field(default_factory=dict)


def fits(pattern: str, case: str) -> bool:
    """Whether a case number is one: # is a digit, @ a letter, ? anything, * at the end any rest; all else is itself."""
    whole = pattern.removesuffix("*")
    kinds = {"#": "[0-9]", "@": "[A-Za-z]", "?": "."}
    written = "".join(kinds.get(letter, re.escape(letter)) for letter in whole)
    return not pattern or re.fullmatch(written + (".*" if pattern.endswith("*") else ""), case, re.DOTALL) is not None


def answer(policy: Policy, chosen: str, other: str, case: str) -> Answer:
    """What was filled in, judged by the policy. Pure."""
    problems = {}
    chosen, other, case = (" ".join(each.split()) for each in (chosen, other, case))
    text = other if other and policy.free_text and chosen not in policy.purposes else chosen
    if not text or (text not in policy.purposes and not policy.free_text):
        problems["purpose"] = "choose"
    elif len(text) > LONGEST or text != column(text, 4 * LONGEST) or not text.isprintable():
        problems["purpose"] = "long"
    elif text not in policy.purposes and not re.search(r"\w{2}", text):
        problems["purpose"] = "choose"
    if policy.case_number == "no":
        case = ""
    elif not case and policy.case_number == "required":
        problems["case_number"] = "missing"
    elif len(case) > LONGEST_CASE or not case.isprintable() or case != column(case, 4 * LONGEST_CASE):
        problems["case_number"] = "long"
    elif case and not fits(policy.case_pattern, case):
        problems["case_number"] = "pattern"
    return Answer(None, problems) if problems else Answer(Purpose(text, case or None))


async def policy_of(tx: Connection, org: int, settings: Purposes) -> Policy:
    """The organisation's policy, or the one of the settings while no admin has made one."""
    row = await tx.fetchrow(POLICY, org)
    if row is None:
        return of_settings(settings)
    return Policy(**(dict(row) | {"purposes": tuple(row["purposes"])}))


def of_settings(settings: Purposes) -> Policy:
    """The policy that the settings give."""
    return Policy(
        settings.required, settings.choices, settings.free_text, settings.case_number, settings.case_pattern, settings.minutes
    )


def judged(policy: Policy) -> Mapping[str, str]:
    """What is wrong with a policy, by field; nothing when it can be kept. Pure."""
    problems = {}
    if not policy.purposes and not policy.free_text:
        problems["purposes"] = "none"
    elif len(policy.purposes) > MOST_CHOICES or any(
        len(each) > LONGEST or not each.isprintable() or each != column(each, 4 * LONGEST) for each in policy.purposes
    ):
        problems["purposes"] = "long"
    if policy.case_number not in ("no", "optional", "required"):
        problems["case_number"] = "choose"
    if not plain_pattern(policy.case_pattern):
        problems["case_pattern"] = "pattern"
    if not 1 <= policy.minutes <= 1440:
        problems["minutes"] = "minutes"
    return problems


async def change(tx: Connection, org: int, by: str, policy: Policy) -> None:
    """Make this the organisation's policy; one that `judged` finds nothing wrong with. Audited."""
    values = policy.required, list(policy.purposes), policy.free_text, policy.case_number, policy.case_pattern, policy.minutes
    await tx.execute(CHANGE, org, by, *values)
    told = {"required": str(policy.required), "purposes": "; ".join(policy.purposes), "free_text": str(policy.free_text)}
    told |= {"case": policy.case_number, "pattern": policy.case_pattern, "minutes": f"{policy.minutes:g}"}
    await note(tx, org, by, "change purpose policy", **told)


async def state(tx: Connection, org: int, session_id: UUID, person: str, why: Purpose, minutes: float) -> None:
    """Let a session be under this purpose from now on. Audited, under it."""
    await tx.execute(KEEP, org, session_id, why.text, why.case_number, minutes)
    with doing(why):
        await note(tx, org, person, "state purpose")


async def end(tx: Connection, org: int, session_id: UUID, person: str) -> None:
    """Let a session be under no purpose any more. Audited."""
    if await tx.execute(END, org, session_id) != "UPDATE 0":
        await note(tx, org, person, "end purpose")


def told_in_headers(policy: Policy, headers: Mapping[str, str]) -> Answer:
    """What a program says with each of its requests: Griffier-Purpose and Griffier-Case-Number, as UTF-8."""
    purpose, case = (headers.get(name, "") for name in PURPOSE_HEADERS)
    return answer(policy, purpose, "", case)
