from __future__ import annotations

import pytest

from tests.soak.home import STEP_S, Home, Weight, quiet
from tests.soak.watch import BATCH


@pytest.fixture(autouse=True)
def _quiet():
    quiet()


async def test_an_hour_of_trouble_leaves_nothing_behind_and_the_books_balance(tmp_path):
    home = Home(tmp_path)
    before = Weight.now()
    async with home.open():
        for step in range(round(3600 / STEP_S)):
            await home.pass_time()
            if step % 60 == 59:
                await home.settle()
                home.check()
        await home.settle()
        home.check()
        text = await home.scrape()
    after = Weight.now()
    totals = home.totals()
    assert text.count(b"vskd_device_online{") == 20
    assert totals["samples"] > 10_000 * BATCH / 2
    assert totals["samples"] == totals["samples used"] + totals["samples waiting"] + sum(
        totals["samples dropped"].values()
    )
    assert totals["windows"] == totals["windows classified"] + sum(totals["windows dropped"].values())
    assert totals["samples of strangers"] > 0
    assert totals["reloads"] > 0
    assert {"duplicate"} <= set(totals["samples dropped"])
    assert home.connection.waiting == 0
    assert (after.tasks, after.files) == (before.tasks, before.files)
