"""The bad day, provoked: what docs/runbook.md says one sees is what the desk says."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import trading_bot
from desk import place as places
from domain.clock import ManualClock
from domain.errors import DeskError, ModelDamaged
from domain.orders import Purpose, Status
from domain.trading_state import KillLevel
from etrade.transport import Request
from model_manager import ModelManager
from settings import Settings
from tests.conftest import ROOT
from tests.etrade_trading import TradingDesk, trading_desk
from tests.made_models import about, weights
from ui import standing
from ui.desk_state import engine_words

DOCUMENT = ROOT / "docs" / "runbook.md"
pytestmark = pytest.mark.long


def quotes(chapter: str) -> list[str]:
    """What is quoted in a chapter, as it stands there."""
    text = DOCUMENT.read_text(encoding="utf-8")
    [found] = re.findall(rf"^## {re.escape(chapter)}$(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    return [quote.replace("\\*", "*") for quote in re.findall(r"^> (.+)$", found, flags=re.M)]


def fits(quote: str, said: str) -> bool:
    """Whether that was said: an ellipsis stands for anything."""
    pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", quote))
    return re.search(pattern, said, flags=re.S) is not None


def told(desk: TradingDesk) -> list[str]:
    """Everything that stands on the pages."""
    engine = desk.reader.engine()
    return [*desk.details()["problems"], *(one["said"] for one in standing.notices(desk.place_of, engine))]


def holds(chapter: str, *said: str, most: int = 99) -> None:
    """Every quote of the chapter was said; of the first `most`."""
    for quote in quotes(chapter)[:most]:
        assert any(fits(quote, one) for one in said), f"{quote!r} was not said; but: {said}"


async def held(desk: TradingDesk) -> None:
    await desk.place(stop_loss="490.00", target="510.00")
    await desk.tick(6)


async def test_a_sign_in_that_dies(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        await held(desk)
        desk.sim.control("tokens", revoke=True)
        await desk.tick(70)

        holds("The sign-in is dead, with open positions", *told(desk))
        assert [str(kept.ticket.stop) for kept in desk.resting()] == ["490.00"]
        await desk.sign_in()
        await desk.tick(6)
        assert told(desk) == []


async def test_a_broker_that_is_down(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        await held(desk)
        desk.sim.fault("maintenance")
        await desk.tick(5, seconds=60.0)
        before = told(desk)
        await desk.stop()
        await desk.start()
        await desk.tick(3, seconds=60.0)

        holds("E\\*TRADE is down", *before, *told(desk))
        desk.sim.control("faults", "DELETE")
        desk.market_moves()
        await desk.tick(8)
        assert told(desk) == []


async def test_an_order_nobody_knows_about(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        desk.sim.fault("drop_before", where="orders/place")
        await desk.place(stop_loss="490.00")
        await desk.tick(4)

        holds("An order nobody knows about", *told(desk))
        took = await desk.until_true(lambda: desk.orders(Purpose.ENTRY)[0].status is Status.NOT_PLACED, 100, 5.0)
        assert took < 400  # "some six minutes"


async def test_an_order_that_is_frozen(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        desk.sim.fault("drop_after", where="orders/place")
        placed: list[Request] = []

        def by_hand(request: Request) -> None:
            if request.url.endswith("/orders/place.json") and not placed:
                placed.append(request)
                desk.by_hand("MSFT", "BUY", "10", price_type="LIMIT", limit="495.00")

        desk.session.line.meanwhile = by_hand
        await desk.place(type="limit", limit="495.00", stop_loss="490.00")
        await desk.tick(6)

        holds("An order is frozen", *told(desk))


async def test_a_position_without_its_stop(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        await desk.place(stop_loss="490.00")
        desk.sim.fault("error_before", where="orders/preview", status=503, times=None)
        await desk.until_true(lambda: desk.heard("UNPROTECTED"))

        holds("A position without its stop", *told(desk))


async def test_a_clock_that_is_wrong(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        await held(desk)
        desk.sim.control("clock", skew=600)
        await desk.tick(70)

        holds("The clock is wrong", *told(desk), most=1)
        assert [str(kept.ticket.stop) for kept in desk.resting()] == ["490.00"]


async def test_an_engine_that_is_mute(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        await desk.tick(2)
        words = engine_words(desk.reader.engine(), desk.clock.now() + timedelta(seconds=6), 0)["words"]
        still = engine_words(desk.reader.engine(), desk.clock.now() + timedelta(seconds=4), 0)["words"]

        assert words in quotes("The engine is mute")
        assert still.startswith("Engine runs")


async def test_a_ledger_from_an_older_backup(tmp_path: Path) -> None:
    async with trading_desk(tmp_path) as desk:
        await held(desk)
        await desk.stop()
        ledger = Path(desk.place_of.ledger_url.removeprefix("sqlite:///"))
        kept = tmp_path / "backup"
        shutil.copytree(ledger.parent, kept)
        await desk.start()
        await desk.tick(6)
        await desk.place("KO", stop_loss="55.00")
        await desk.tick(6)
        await desk.stop()
        for file in ledger.parent.glob(f"{ledger.name}*"):
            file.unlink()
        for file in kept.glob(f"{ledger.name}*"):
            shutil.copy(file, ledger.parent)
        await desk.start()
        await desk.tick(40, seconds=5.0)

        outside = {one["symbol"]: one["quantity"] for one in desk.details()["outside"]}
        assert outside == {"KO": "10"}
        assert desk.held("MSFT") == 10
        assert sorted((kept.ticket.symbol, str(kept.ticket.stop)) for kept in desk.resting()) == [
            ("KO", "55.00"),
            ("MSFT", "490.00"),
        ]


def test_a_kill_switch_beside_a_broken_ledger(settings: Settings) -> None:
    place = places.paper(settings, "simulated", simulated=True)
    settings.data_dir.mkdir(parents=True)
    Path(place.ledger_url.removeprefix("sqlite:///")).write_bytes(b"no database" * 1000)

    said = trading_bot.ask_to_stop(place, KillLevel.CANCEL, "a test", ManualClock())

    assert any(fits(quote, said) for quote in quotes("To stop everything"))
    assert any(fits(quote, said) for quote in quotes("The ledger cannot be read or written"))
    assert place.halt_paths[-1].exists()


def test_a_model_whose_bytes_were_changed(tmp_path: Path) -> None:
    manager = ModelManager(tmp_path, ManualClock(datetime(2026, 11, 20, 15, 30, tzinfo=UTC)))
    saved = manager.save(weights(), about())
    [file] = tmp_path.glob("*.pth")
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)

    with pytest.raises(ModelDamaged) as refused:
        manager.load(str(saved.version))

    holds("A model is refused", str(refused.value))


@pytest.mark.parametrize("wrong", [{"trading": "etrades"}, {"smtp_port": "abc"}])
def test_settings_that_cannot_be(wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import settings as settings_file

    for name, value in wrong.items():
        monkeypatch.setenv(name.upper(), value)

    with pytest.raises(DeskError) as refused:
        settings_file.load()

    assert fits(quotes("The desk does not start")[0], str(refused.value))


def test_orders_to_etrade_without_its_environment(settings: Settings) -> None:
    with pytest.raises(DeskError) as refused:
        places.of(settings.model_copy(update={"trading": "etrade", "etrade_environment": "off"}), "etrade", False)

    assert fits(quotes("The desk does not start")[1], str(refused.value))
