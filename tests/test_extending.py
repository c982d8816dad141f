"""The examples of docs/extending.md, each in its drawer and put through what holds for every part there."""

from __future__ import annotations

import inspect
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import alerts
import brokers
import feeds
from domain import registry
from domain.candles import TIMEFRAMES, nanos
from domain.clock import ManualClock
from domain.errors import AlertLater, AlertRefused, AlertUnusable, FeedUnavailable, OrderRefused
from domain.orders import Status
from feeds.base import Feed
from settings import Settings
from tests import test_alerts, test_brokers, test_feeds
from tests.alert_servers import says, web_server
from tests.conftest import ROOT
from tests.test_brokers import OnPaper, Rig, rig, wish

DOCUMENT = ROOT / "docs" / "extending.md"
DRAWERS = {"feeds": feeds, "alerts": alerts, "brokers": brokers}
SECOND = 1_000_000_000


def examples() -> dict[tuple[str, str], str]:
    """The code that the document names as a file of a drawer."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"^`(\w+)/(\w+)\.py`[^`\n]*\n(?:[^`\n]+\n)*\n```python\n(.*?)^```", text, flags=re.M | re.S)
    return {(drawer, name): code for drawer, name, code in found}


@pytest.fixture(autouse=True, scope="module")
def _in_their_drawers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("examples")
    for (drawer, name), code in examples().items():
        (folder / drawer).mkdir(exist_ok=True)
        (folder / drawer / f"{name}.py").write_text(code, encoding="utf-8")
    for drawer, package in DRAWERS.items():
        package.__path__.append(str(folder / drawer))
    yield
    for (drawer, name), _ in examples().items():
        sys.modules.pop(f"{drawer}.{name}", None)
        vars(DRAWERS[drawer]).pop(name, None)
    for drawer, package in DRAWERS.items():
        package.__path__.remove(str(folder / drawer))


def contract(module: Any, *asks: str) -> list[Callable[..., Any]]:
    """The tests of a drawer that ask for exactly these."""
    tests = [test for name, test in vars(module).items() if name.startswith("test_")]
    return [test for test in tests if set(inspect.signature(test).parameters) == set(asks)]


def named(test: Callable[..., Any]) -> str:
    return test.__name__.removeprefix("test_")


def test_every_drawer_has_an_example() -> None:
    assert sorted(drawer for drawer, _ in examples()) == ["alerts", "brokers", "feeds"]
    for other in ("strategies", "filters"):  # those documents have their own, under tests of their own
        text = (ROOT / "docs" / f"{other}.md").read_text(encoding="utf-8")
        assert re.search(rf"^`{other}/\w+\.py`:\n\n```python", text, re.M)


# A source


@pytest.fixture(scope="module")
def bars_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with minutes of twelve days, the one still forming included."""
    folder = tmp_path_factory.mktemp("minutes")
    with closing(sqlite3.connect(folder / "bars.db")) as db:
        db.execute("CREATE TABLE bars (symbol, time, open, high, low, close, volume)")
        for of in (test_feeds.AAPL, test_feeds.MSFT):
            minutes = test_feeds.bars(of, TIMEFRAMES["1m"], test_feeds.NOW - timedelta(days=12), test_feeds.NOW)
            rows = zip(nanos(minutes) // SECOND, *(minutes[name] for name in minutes), strict=True)
            db.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", [(of.symbol, int(t), *r) for t, *r in rows])
        db.commit()
    return folder


@pytest.fixture
async def minutes(settings: Settings, bars_db: Path) -> AsyncIterator[Feed]:
    here = settings.model_copy(update={"data_dir": bars_db})
    made: Feed = registry.part("feeds", "minutes")(here, ManualClock(test_feeds.NOW))
    yield made
    await made.close()
    await made.close()


def test_the_source_says_what_it_is() -> None:
    assert len(contract(test_feeds, "name")) == 1
    test_feeds.test_it_says_what_it_is("minutes")


@pytest.mark.parametrize("test", contract(test_feeds, "feed"), ids=named)
async def test_the_source_keeps_to_the_contract(test: Callable[..., Any], minutes: Feed) -> None:
    await test(minutes)


@pytest.mark.parametrize("tf", TIMEFRAMES)
async def test_the_source_gives_every_timeframe(tf: str, minutes: Feed) -> None:
    await test_feeds.test_its_candles_are_closed_checked_and_within_the_span(minutes, TIMEFRAMES[tf])


async def test_the_source_names_a_file_that_is_not_there(settings: Settings) -> None:
    minutes = registry.part("feeds", "minutes")(settings, ManualClock(test_feeds.NOW))

    with pytest.raises(FeedUnavailable, match=r"bars\.db cannot be read"):
        await minutes.quotes([test_feeds.AAPL])


# A channel


def test_the_channel_fits_the_port() -> None:
    test_alerts.test_every_channel_fits_the_port("ntfy")


@pytest.mark.parametrize(
    ("status", "raises"), [(429, AlertLater), (503, AlertLater), (403, AlertUnusable), (400, AlertRefused)]
)
async def test_the_channel_says_how_it_ended(status: int, raises: type[Exception]) -> None:
    async with web_server(says(status, "no")) as server:
        with pytest.raises(raises):
            await test_alerts.alert("ntfy", webhook_url=f"{server.url}/desk").send(test_alerts.TOLD)


async def test_the_channel_sends_the_text_under_its_title() -> None:
    async with web_server(says(200, "ok")) as server:
        said = await test_alerts.alert("ntfy", webhook_url=f"{server.url}/desk").send(test_alerts.TOLD)

    [heard] = server.heard
    assert said == "ntfy took it (200)"
    assert (heard.path, heard.body.decode()) == ("/desk", test_alerts.TOLD.text)
    assert heard.headers["Title"] == test_alerts.TOLD.title


async def test_the_channel_that_nobody_answers_is_tried_later() -> None:
    with pytest.raises(AlertLater, match="cannot be reached"):
        await test_alerts.alert("ntfy", webhook_url="http://127.0.0.1:9/desk").send(test_alerts.TOLD)


# A broker


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[OnPaper]:
    made = rig(tmp_path, part="counter")
    yield Counter(made.broker, made.clock, made.exchange, made.open)
    await made.broker.close()


class Counter(OnPaper):
    async def place(self, request: Any, name: str = "c1", group: str = "") -> str:
        """As the desk does: prepared, then sent."""
        yes = test_brokers.approved(request)
        prepared = await self.broker.prepare(yes, client_order_id=name)
        found: str = await self.broker.place(yes, client_order_id=name, prepared=prepared)
        return found

    async def wait(self, until: str) -> None:
        await super().wait(until)
        await self.see(100)


@pytest.mark.parametrize("test", contract(test_brokers, "every_broker"), ids=named)
async def test_the_broker_keeps_to_the_contract(test: Callable[..., Any], counter: OnPaper) -> None:
    await test(counter)


async def test_the_broker_keeps_everything_over_a_restart(counter: Rig) -> None:
    await counter.see(100)
    bought = await counter.place(wish(quantity=10))
    await counter.see(101)
    before = await counter.broker.orders(test_brokers.EVER), await counter.broker.accounts()
    await counter.again()

    assert (await counter.broker.orders(test_brokers.EVER), await counter.broker.accounts()) == before
    order = await counter.order(bought)
    assert (order.status, order.filled, order.average_price) == (Status.FILLED, 10, 101)
    assert (await counter.account()).cash == 98_990


async def test_the_broker_sells_no_more_than_is_held(counter: Rig) -> None:
    await counter.see(100)

    with pytest.raises(OrderRefused, match="more cannot be sold than is held"):
        await counter.place(wish(test_brokers.SELL, 1))
