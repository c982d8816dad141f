"""The whole desk under everything at once: whatever happens in whatever order, the invariants hold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal as D
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from desk import crash
from domain.commands import Kind
from domain.errors import Fenced
from domain.orders import Purpose
from tests.faults.broker import FaultyBroker, Told
from tests.faults.machine import DeskMachine, MuteDeskMachine
from tests.faults.points import at
from tests.trading import PaperDesk, trading

DeskMachine.TestCase.settings = settings(
    max_examples=5,  # `make prove` lives two thousand of them
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestDesk = DeskMachine.TestCase
MuteDeskMachine.TestCase.settings = settings(DeskMachine.TestCase.settings, max_examples=4)
TestMuteDesk = MuteDeskMachine.TestCase


# What it told once, kept as stories of its own


@pytest.fixture
def faults() -> Told:
    return Told()


@pytest.fixture
async def desk(tmp_path: Path, faults: Told) -> AsyncIterator[PaperDesk]:
    async with trading(tmp_path, broker=lambda inner: FaultyBroker(inner, faults)) as desk:
        await desk.ask(Kind.SET_LIMIT, name="duplicate_window_s", value=1.0)
        yield desk
        assert desk.problems() == []


def under_a_stop(desk: PaperDesk) -> D:
    return sum((o.remaining for o in desk.open() if o.request.purpose is Purpose.STOP), D(0))


async def test_fills_of_a_long_outage_are_heard_once_it_is_over(desk: PaperDesk, faults: Told) -> None:
    await desk.place(type="limit", limit="99.00", stop_loss="95.00")
    faults.down |= {"fills", "orders"}
    await desk.tick(2, AAPL="98.50")
    await desk.tick(3, seconds=20)
    faults.down.clear()

    await desk.tick(4, seconds=6)

    assert (desk.held(), under_a_stop(desk)) == (100, 100)


async def test_entries_that_fill_together_keep_the_stop_that_one_of_them_asked_for(desk: PaperDesk) -> None:
    await desk.place(type="limit", limit="99.00", quantity="50", stop_loss="95.00")
    await desk.tick(2)
    await desk.place(type="limit", limit="98.90", quantity="50")

    await desk.tick(4, AAPL="98.50")

    assert (desk.held(), under_a_stop(desk)) == (100, 100)


async def test_a_cancel_without_an_answer_is_not_pressed_again_at_halt(desk: PaperDesk, faults: Told) -> None:
    placed = await desk.place(type="limit", limit="98.00")
    faults.queued["cancel"].append("lost on the way")
    await desk.ask(Kind.CANCEL, order=placed.details["order"])
    await desk.ask(Kind.KILL, level=4, reason="test")
    before = await desk.broker.orders(desk.clock.now())

    await desk.tick(5, seconds=6)

    assert await desk.broker.orders(desk.clock.now()) == before
    await desk.ask(Kind.RE_ARM, reason="test")
    await desk.tick(2)
    assert desk.open() == []


async def test_a_resting_sale_leaves_room_for_the_stop_of_the_rest(desk: PaperDesk) -> None:
    await desk.place()
    await desk.tick(4)
    await desk.place(side="sell", type="limit", limit="103.00", quantity="50")

    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop="95.00")
    await desk.tick(6)

    assert under_a_stop(desk) == 50


async def test_an_order_that_arrives_after_its_engine_overslept_is_found_and_protected(tmp_path: Path) -> None:
    """The sender sleeps between marker and line until its lease is gone; the successor looks, finds nothing, goes on;
    then the order arrives."""
    async with trading(tmp_path, broker=lambda inner: FaultyBroker(inner, Told())) as sleeper:
        successor = PaperDesk(tmp_path, clock=sleeper.clock)

        async def take_over() -> None:
            await successor.start()
            await successor.tick(2)

        def oversleep() -> None:
            sleeper.clock.advance(seconds=30)
            other = threading.Thread(target=lambda: asyncio.run(take_over()))
            other.start()
            other.join()

        previewed = await sleeper.preview(stop_loss="95.00", key="preview-late")
        payload = {"preview": "preview-late", "request": previewed.details["request"]}
        sleeper.append(Kind.PLACE, payload, key=previewed.details["token"])
        crash.install(at("bytes_sent", 1, oversleep))
        with pytest.raises(Fenced):
            await sleeper.tick(3)
        crash.install(None)
        sleeper.engine = None

        await successor.tick(8, seconds=20)

        assert (successor.held(), under_a_stop(successor)) == (100, 100)
        await successor.stop()
