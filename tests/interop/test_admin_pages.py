"""The admin's pages in front of a real bridge and a real archiver, as the demo connects them."""

from __future__ import annotations

import re

import pytest

from archiver.demo import people

pytestmark = pytest.mark.stack


async def test_an_admin_pauses_a_number_in_the_browser_and_sees_the_archiver_capture(stack):
    there = f"{stack.web}/admin/bridge/numbers/{people.PHONE_ID}"
    async with await stack.signed_in("beheer") as http:
        async with http.get(f"{stack.web}/admin/bridge") as answer:
            page = await answer.text()
            assert answer.status == 200, page
        assert people.PHONE_NUMBER in page
        token = re.search(r'name="form_token" value="([^"]+)"', page)[1]
        for what, word in (("pause", "Hervatten"), ("resume", "Pauzeren")):
            async with http.post(there, data={"form_token": token, "do": what}) as answer:
                page = await answer.text()
                assert answer.status == 200, page
            assert word in page
        async with http.get(f"{stack.web}/admin/organisation") as answer:
            page = await answer.text()
        assert stack.archiver in page
        assert "een proces op" in page
        async with http.get(f"{stack.web}/health") as answer:
            page = await answer.text()
        assert "Er wordt gearchiveerd." in page
        assert people.PHONE_NUMBER in page  # the bridge was asked too
