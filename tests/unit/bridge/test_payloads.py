"""Every documented type of what WhatsApp tells is read; payloads/*.json say what each must become."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.network import Incoming, Named, NotUnderstood
from bridge.network.cloud import Cloud
from bridge.rendering import MAX_TEXT, message, replacing, source, without_original, words
from tests.unit.bridge.test_cloud import json_values

CLOUD = Cloud(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - reads only, calls nobody
CASES = [
    (f"{path.stem}: {case['claim']}", case)
    for path in sorted((Path(__file__).parent / "payloads").glob("*.json"))
    for case in json.loads(path.read_text())
]


def delivery(case: dict[str, Any]) -> dict[str, Any]:
    changes = [{"field": case["field"], "value": case["value"]}]
    return {"object": "whatsapp_business_account", "entry": [{"id": "7001", "time": 1764000000, "changes": changes}]}


def read(change: dict[str, Any]) -> Any:
    try:
        return CLOUD.read(change)
    except NotUnderstood as error:
        return error


def differences(told: Any, wanted: Any, place: str = "") -> list[str]:
    """Where what is told is other than what is wanted of it."""
    if isinstance(wanted, dict):
        found = [
            line
            for name, part in wanted.items()
            if name != "is"
            for line in differences(getattr(told, name), part, f"{place}.{name}")
        ]
        return found + (
            [f"{place}: {type(told).__name__}"] if wanted.get("is", type(told).__name__) != type(told).__name__ else []
        )
    if isinstance(wanted, list):
        pairs = [differences(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(told, wanted, strict=True))]
        return [line for lines in pairs for line in lines]
    return [] if told == wanted else [f"{place}: {told!r}, not {wanted!r}"]


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_what_whatsapp_tells_is_read(case):
    told = [read(change) for _, _, change in CLOUD.split(delivery(case))]
    assert differences(told, case["told"]) == []


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_what_is_read_can_be_shown_and_nothing_is_silent(case):
    for _, _, change in CLOUD.split(delivery(case)):
        told = read(change)
        if not isinstance(told, Incoming) or told.kind in ("reaction", "revoke"):
            continue
        _, content = message(told, words(told, {}, speaker="De Vries (via telefoon)" if told.from_us else ""))
        assert content["body"] or told.media is not None
        about = source(told, "whatsapp", "+31970", "@minister:x", sender=told.person.shown)
        assert about["type"]
        assert ("payload" in about) == (not told.whole)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A documented delivery with some of its values replaced by anything."""
    body = delivery(json.loads(json.dumps(draw(st.sampled_from([case for _, case in CASES])))))
    for _ in range(draw(st.integers(1, 4))):
        here: Any = body["entry"][0]["changes"][0]["value"]
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            key = draw(st.sampled_from(keys)) if keys else None
            if key is None:
                break
            if not isinstance(here[key], dict | list) or not here[key] or draw(st.booleans()):
                here[key] = draw(json_values | st.just([]) | st.just("x" * 50) | st.floats())
                break
            here = here[key]
    return body


@given(damaged())
def test_a_damaged_delivery_raises_nothing_but_that_it_is_not_understood(body):
    for key, conversation, change in CLOUD.split(body):
        assert isinstance(key, str)
        assert isinstance(conversation, str)
        told = read(change)
        if isinstance(told, Incoming):
            for shown in (told, without_original(told)):
                _, content = message(shown, words(shown, {"316": ("@a:x", "<A>")}, reply_lost=True, speaker="wij"))
                json.dumps(replacing(content, "$een"))
            json.dumps(source(told, "whatsapp", "+31", "@m:x", sender="x"))


@given(st.lists(st.sampled_from([case for _, case in CASES if case["field"] == "messages"]), min_size=1, max_size=4), damaged())
def test_a_damaged_neighbour_costs_no_other_change(cases, bad):
    body = delivery(cases[0])
    for case in cases[1:]:
        body["entry"] += delivery(case)["entry"]
    alone = [read(change) for _, _, change in CLOUD.split(body)]
    place = len(body["entry"]) // 2
    body["entry"][place:place] = bad["entry"]
    together = [read(change) for _, _, change in CLOUD.split(body)]
    for told in alone:
        if not isinstance(told, NotUnderstood):
            assert told in together


def test_every_field_of_a_message_is_shown_by_some_payload():
    seen: set[str] = set()
    for _, case in CASES:
        for _, _, change in CLOUD.split(delivery(case)):
            told = read(change)
            if isinstance(told, Incoming):
                bare = Incoming("", told.person, "", None, "", "")
                seen |= {field.name for field in fields(Incoming) if getattr(told, field.name) != getattr(bare, field.name)}
    assert is_dataclass(Incoming)
    assert {field.name for field in fields(Incoming)} - seen == {"person"}


@given(st.text(min_size=1))
def test_an_edited_text_with_its_html_fits_in_an_event(letters):
    text = (f"*{letters}* _x_ " * 20_000)[:100_000]
    said = words(Incoming("1", Named("316"), "w", None, "text", "text", text), {})
    content = replacing({"msgtype": "m.text", **said.content()}, "$een")
    if len(json.dumps(said.text)) <= MAX_TEXT:
        assert len(json.dumps(content)) < 45_000
