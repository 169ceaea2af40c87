"""The sample ministry's officials, as the demo brings them in."""

from __future__ import annotations

from importlib.resources import files

from archiver.demo import people
from archiver.web.admin.importing import values_of
from archiver.web.admin.table import read


def test_the_sample_officials_are_the_ministry_s_and_their_file_has_no_mistake():
    known = {people.user_id(person): person.name for person in people.MINISTRY}
    found = read((files("archiver.demo") / "sample" / "ambtsdragers.csv").read_bytes())
    for row in found.rows:
        values, problems = values_of(row)
        assert not problems
        assert known[values["matrix_id"]] == values["name"]
    assert values_of(found.rows[0])[0]["number"] == people.PHONE_NUMBER.replace(" ", "")
