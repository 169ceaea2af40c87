"""The checklist in docs/asvs.md leaves nothing out and names nothing that is not there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
# OWASP ASVS 5.0.0: how many requirements each section has, and those of level 3.
SECTIONS = {
    1: (2, 10, 12, 3, 3), 2: (3, 3, 5, 2), 3: (1, 3, 5, 8, 8, 1, 5), 4: (5, 5, 2, 4), 5: (1, 6, 3, 3),
    6: (3, 12, 8, 6, 8, 4, 2, 4),
    7: (3, 4, 2, 5, 3, 2), 8: (4, 4, 3, 2), 9: (3, 4), 10: (2, 3, 5, 16, 5, 2, 3), 11: (4, 5, 5, 4, 2, 2, 2), 12: (5, 2, 5),
    13: (4, 6, 4, 7), 14: (2, 8, 3), 15: (5, 5, 7, 4), 16: (1, 5, 4, 3, 4), 17: (2, 8, 2),
}  # fmt: skip
LEVEL_3 = {
    "1.2.10", "1.3.12", "1.5.3", "2.3.5", "2.4.2", "3.1.1", "3.2.3", "3.3.5", "3.4.7", "3.4.8", "3.5.6", "3.5.7", "3.5.8",
    "3.6.1", "3.7.3", "3.7.4", "3.7.5", "4.1.4", "4.1.5", "4.2.2", "4.2.3", "4.2.4", "4.2.5", "5.2.4", "5.2.5", "5.2.6",
    "5.3.3", "6.3.5", "6.3.6", "6.3.7", "6.3.8", "6.4.5", "6.4.6", "6.5.6", "6.5.7", "6.5.8", "6.6.4", "6.7.1", "6.7.2",
    "7.5.3", "8.1.3", "8.1.4", "8.2.4", "8.3.2", "8.3.3", "8.4.2", "10.2.3", "10.3.5", "10.4.12", "10.4.13", "10.4.14",
    "10.4.15", "10.4.16", "11.1.3", "11.1.4", "11.2.4", "11.2.5", "11.3.4", "11.3.5", "11.5.2", "11.6.2", "11.7.1",
    "11.7.2", "12.1.4", "12.1.5", "12.3.5", "13.1.2", "13.1.3", "13.1.4", "13.2.6", "13.3.3", "13.3.4", "13.4.6",
    "13.4.7", "14.2.5", "14.2.6", "14.2.7", "14.2.8", "15.1.4", "15.1.5", "15.2.4", "15.2.5", "15.4.1", "15.4.2",
    "15.4.3", "15.4.4", "16.5.4", "17.1.2", "17.2.5", "17.2.6", "17.2.7", "17.2.8",
}  # fmt: skip
VERDICTS = ("**met**", "**partly**", "**not met**", "**deployment**", "**n/a**")
FILE = re.compile(r"`((?:archiver|bridge|tests|docs|config)/[^`\s]+|[\w.-]+\.(?:toml|yml|txt|md)|Dockerfile)`")


def rows() -> list[tuple[list[str], str]]:
    """The numbers of each line of the checklist, and how they are met."""
    lines = [line.split(" | ") for line in (ROOT / "docs/asvs.md").read_text().splitlines() if re.match(r"\| \d", line)]
    return [(parts[0].removeprefix("| ").split(", "), parts[-1].removesuffix(" |")) for parts in lines]


def test_every_requirement_of_levels_1_and_2_is_answered_once():
    wanted = {
        f"{chapter}.{section}.{number}"
        for chapter, sections in SECTIONS.items()
        for section, many in enumerate(sections, 1)
        for number in range(1, many + 1)
    } - LEVEL_3
    assert len(wanted) == 253
    answered = Counter(number for numbers, _ in rows() for number in numbers)
    assert not wanted - answered.keys()
    assert not answered.keys() - wanted
    assert max(answered.values()) == 1


def test_every_answer_is_a_verdict_with_what_shows_it():
    for numbers, how in rows():
        assert how.startswith(VERDICTS), numbers
        if how.startswith("**met**"):
            assert FILE.search(how) or len(how) > 40, numbers


def test_everything_that_the_checklist_names_exists():
    text = (ROOT / "docs/asvs.md").read_text()
    named = FILE.findall(text)
    assert len(named) > 100
    for name in named:
        path, _, test = name.partition("::")
        assert (ROOT / path).exists(), name
        if test:
            assert f"def {test}(" in (ROOT / path).read_text(), name


def test_the_numbers_that_are_told_elsewhere_are_true():
    verdicts = Counter()
    for numbers, how in rows():
        verdicts[next(each for each in VERDICTS if how.startswith(each))] += len(numbers)
    assert sum(verdicts.values()) == 253
    told = re.search(
        r"Of the 253: (\d+) met, (\d+) partly, (\d+) not met, (\d+) by the deployment, (\d+)\s+not\s+applicable", TEXT
    )
    assert told, verdicts
    assert tuple(map(int, told.groups())) == tuple(verdicts[each] for each in VERDICTS)


TEXT = (ROOT / "docs/asvs.md").read_text()
