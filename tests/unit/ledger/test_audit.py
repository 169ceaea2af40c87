"""What the audit trail is ordered by."""

from __future__ import annotations

import time
from itertools import pairwise

from archiver.ledger.audit import uuid7


def test_ids_are_version_7_of_now_and_each_comes_after_the_one_before_it():
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert all(one < next_ for one, next_ in pairwise(made))
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}
    assert all(before <= each.int >> 80 <= after + 1 for each in made)


def test_they_rise_though_the_clock_goes_back(monkeypatch):
    first = uuid7()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**12)
    assert first < uuid7() < uuid7()
