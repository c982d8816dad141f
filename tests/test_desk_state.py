"""ui/desk_state.py and the switch on every page: what is shown of the desk, and that it is asked for exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import performance_utils as pu
from desk.inbox import Inbox
from desk.ledger import Ledger
from desk.live_book import LiveBook
from desk.place import Place, paper
from desk.reader import Reader
from desk.records import EngineStatus
from domain.breaker import Breaker
from domain.clock import ManualClock
from domain.commands import Kind
from domain.orders import Order, OrderRequest, OrderType, Purpose, Side, Status
from domain.quotes import Quote
from domain.trading_state import KillLevel, TradingState
from settings import Settings
from tests.conftest import ROOT
from tests.ledgers import NOW, fill, founded, order, working
from tests.test_live import get
from ui import live, moved_lines
from ui.desk_state import desk_state, etrade_words

D = Decimal


@dataclass
class Stage:
    """A ledger with an account `main` of 100,000, and what a page sees of it."""

    ledger: Ledger
    epoch: int
    trading: bootstrap.Trading
    clock: ManualClock

    def buy(self, quantity: str = "100", price: str = "100", symbol: str = "AAPL") -> None:
        with self.ledger.write(self.epoch) as write:
            working(write, order(f"o-{symbol}", int(quantity), symbol=symbol), f"b-{symbol}")
            write.add_fill(fill(f"f-{symbol}", quantity, price, of=f"o-{symbol}", symbol=symbol, fee=D(1)))
            filled = write.order(f"o-{symbol}")
            assert filled is not None
            write.move(filled, Status.FILLED)

    def rest(self, id_: str, side: Side, quantity: int, **asked: Any) -> None:
        request = OrderRequest("main", "AAPL", side, D(quantity), **asked)
        with self.ledger.write(self.epoch) as write:
            working(write, Order(id_, request, Status.NEW, NOW, NOW), f"b-{id_}")

    def protect(self, stop: str | None, target: str | None) -> None:
        as_amount = [None if one is None else D(one) for one in (stop, target)]
        with self.ledger.write(self.epoch) as write:
            write.set_protection("main", "AAPL", stop=as_amount[0], target=as_amount[1], actor="owner")

    def beat(self, **details: Any) -> None:
        with self.ledger.write(self.epoch) as write:
            told = {"where": "process", "pid": 4711, **details}
            write.beat("engine 4711 on test", "ready", started=NOW, details=told)

    def quote(self, symbol: str, last: str) -> None:
        self.trading.book.write([Quote(symbol, NOW, D(last), "test")])

    def look(self, symbol: str = "") -> dict[str, Any]:
        told = desk_state(self.trading, symbol=symbol)
        json.dumps(told)
        return told

    def lines(self) -> dict[str, dict[str, Any]]:
        return {line["id"]: line for line in self.look("AAPL")["symbol"]["lines"]}


def seen(place: Place, clock: ManualClock) -> bootstrap.Trading:
    reader, inbox = Reader(place.ledger_url, clock), Inbox(place.ledger_url, clock)
    return bootstrap.Trading(place, clock, reader, inbox, LiveBook(place.live_path))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "data").mkdir(exist_ok=True)
    return paper(Settings(data_dir=tmp_path / "data"), "simulated", simulated=True)


@pytest.fixture
def stage(place: Place) -> Iterator[Stage]:
    clock = ManualClock(NOW)
    ledger, epoch = founded(place.ledger_url, clock)
    yield Stage(ledger, epoch, seen(place, clock), clock)
    ledger.close()


def test_equity_and_profit_are_worked_out_at_the_prices_of_the_engine(stage: Stage) -> None:
    stage.buy("100", "100")
    stage.quote("AAPL", "101.50")
    with stage.ledger.write(stage.epoch) as write:
        write.save_breaker("main", Breaker().mark(D(100_000), NOW))

    account = stage.look()["account"]

    # Cash 100,000 − 100 × 100 − 1 fee; 100 × 101.50 held.
    assert (account["cash"], account["equity"]) == ("89,999.00", "100,149.00")
    assert (account["day"], account["day_pct"]) == ("▲ +149.00", "+0.15 %")
    assert account["open"] == "▲ +150.00"
    assert account["exposure_pct"] == "10.1 %"


def test_without_a_breaker_the_day_counts_from_its_first_point(stage: Stage) -> None:
    with stage.ledger.write(stage.epoch) as write:
        write.snapshot_equity("main", D(100_500), D(100_500))

    account = stage.look()["account"]

    assert account["day"] == "▼ −500.00"


def test_a_held_symbol_without_a_price_is_said_and_no_equity_is_invented(stage: Stage) -> None:
    stage.buy()

    account = stage.look()["account"]

    assert account["without_price"] == ["AAPL"]
    assert (account["equity"], account["day"], account["open"], account["exposure_pct"]) == (None, None, None, None)
    assert account["cash"] == "89,999.00"


def test_a_position_without_a_resting_stop_is_told(stage: Stage) -> None:
    stage.buy()
    stage.protect("95", None)
    assert stage.look()["account"]["without_stop"] == ["AAPL"]

    stage.rest("s1", Side.SELL, 100, type=OrderType.STOP, stop=D(95), purpose=Purpose.STOP)

    assert stage.look()["account"]["without_stop"] == []


def test_the_lines_of_a_position_say_what_they_would_bring(stage: Stage) -> None:
    stage.buy("100", "100")
    stage.quote("AAPL", "100.20")
    stage.protect("95.10", "110")
    stage.rest("s1", Side.SELL, 100, type=OrderType.STOP, stop=D("95.10"), purpose=Purpose.STOP)

    lines = stage.lines()

    assert lines["average"]["text"] == "AVG 100.00 · 100 sh · ▲ +20.00"
    assert lines["average"]["draggable"] is False
    assert lines["stop"]["text"] == "STOP 95.10 · 100 sh · −490.00"
    assert lines["stop"]["command"] == {"kind": "protect", "field": "stop"}
    assert lines["target"]["text"] == "TARGET 110.00 · 100 sh · +1,000.00 · not resting yet"
    assert lines["target"]["draggable"] is True


def test_a_stop_that_is_being_replaced_is_shown_beside_the_new_one_and_cannot_be_moved(stage: Stage) -> None:
    stage.buy()
    stage.rest("s1", Side.SELL, 100, type=OrderType.STOP, stop=D(95), purpose=Purpose.STOP)
    stage.protect("96", None)

    lines = stage.lines()

    assert (lines["stop"]["price"], lines["stop"]["draggable"]) == ("96", True)
    assert (lines["stop:95"]["price"], lines["stop:95"]["draggable"]) == ("95", False)


def test_a_stop_that_trails_is_drawn_where_it_has_come_to_and_cannot_be_dragged(stage: Stage) -> None:
    stage.buy()
    stage.rest("s1", Side.SELL, 100, type=OrderType.TRAILING_STOP, trail=D("1.20"), purpose=Purpose.STOP)
    with stage.ledger.write(stage.epoch) as write:
        write.set_protection("main", "AAPL", stop=D(95), target=None, trail=D("1.20"))
        write.begin_trail("main", "AAPL", D("101.35"))

    lines = stage.lines()

    [line] = [line for id_, line in lines.items() if id_.startswith("stop")]
    assert line["text"] == "STOP trailing by 1.20, now at 101.35 · 100 sh · +135.00"
    assert (line["price"], line["draggable"]) == ("101.35", False)


def test_resting_entries_are_lines_that_change_their_order(stage: Stage) -> None:
    stage.rest("e1", Side.BUY, 50, type=OrderType.LIMIT, limit=D("94.90"))
    stage.rest("e2", Side.BUY, 10, type=OrderType.STOP_LIMIT, stop=D(105), limit=D(106))

    lines = stage.lines()

    assert set(lines) == {"e1:limit", "e2:limit", "e2:stop"}
    assert lines["e1:limit"]["text"] == "BUY LIMIT 94.90 · 50 sh"
    assert lines["e1:limit"]["command"] == {"kind": "change", "field": "limit", "order": "e1"}


def test_fills_are_marks_with_time_side_and_price(stage: Stage) -> None:
    stage.buy("40", "100.01")

    [mark] = stage.look("AAPL")["symbol"]["fills"]

    assert (mark["ms"], mark["side"], mark["price"]) == (int(NOW.timestamp() * 1000), "buy", "100.01")
    assert mark["text"] == "Bought 40 at 100.01, fee 1.00 · Fri 20 Nov 10:30:00 New York"


def test_an_engine_that_was_not_heard_for_five_seconds_is_silent(stage: Stage) -> None:
    stage.beat(problems=["No prices: the line is dead"])
    running = stage.look()["engine"]
    stage.clock.advance(seconds=6)

    silent = stage.look()["engine"]

    assert (running["state"], running["words"]) == ("running", "Engine runs in its own process 4711")
    assert running["problems"] == ["No prices: the line is dead"]
    assert (silent["state"], silent["words"], silent["age_s"]) == ("silent", "NO ENGINE: orders wait", 6.0)


def test_who_stopped_trading_and_why_is_told(stage: Stage) -> None:
    with stage.ledger.write(stage.epoch) as write:
        level = KillLevel.CANCEL
        write.set_control("global", TradingState.REDUCE_ONLY, reason="news", actor="owner", level=level)

    told = stage.look()["trading"]

    assert (told["state"], told["level"], told["words"]) == ("reduce only", 2, "STOPPED")
    assert (told["why"], told["by"], told["since"]) == ("news", "owner", "Fri 20 Nov 10:30 New York")
    assert told["stopped"] is True


def test_a_halt_file_counts_before_any_engine_has_seen_it(stage: Stage, place: Place) -> None:
    place.halt_paths[0].write_text("4")

    told = stage.look()["trading"]

    assert (told["state"], told["words"], told["by"]) == ("disabled", "HALTED", "file")


def test_a_desk_nobody_started_is_empty_and_not_an_error(place: Place) -> None:
    told = desk_state(seen(place, ManualClock(NOW)), symbol="AAPL")

    assert (told["engine"]["state"], told["trading"]["words"], told["trouble"]) == ("never", "NOT STARTED", "")
    assert (told["account"], told["symbol"]["lines"]) == (None, [])


def test_a_ledger_that_cannot_be_read_is_disabled_in_words(place: Place) -> None:
    Path(place.ledger_url.removeprefix("sqlite:///")).write_bytes(b"this is no database at all" * 100)

    told = desk_state(seen(place, ManualClock(NOW)), symbol="AAPL")

    assert told["trading"]["state"] == "disabled"
    assert told["trading"]["words"] == "DISABLED"
    assert told["trouble"].startswith("The ledger cannot be read")
    assert told["account"] is None


# The route


async def test_the_route_tells_the_desk_and_what_became_of_a_command(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "trading", lambda: stage.trading)
    monkeypatch.setattr(live, "_desks", live.Shared(4))

    status, headers, body = await get(live.DESK_PATH, "symbol=aapl&asked=unknown-key")

    told = json.loads(body)
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert told["state"]["symbol"]["symbol"] == "AAPL"
    assert told["asked"] == {"key": "unknown-key", "state": "not asked", "said": ""}


async def test_many_viewers_cost_one_look_a_second(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_desks", live.Shared(4))
    monkeypatch.setattr(live, "monotonic", lambda: 7.0)
    looks: list[str] = []

    def counted(trading: bootstrap.Trading, account: str, symbol: str) -> dict[str, Any]:
        looks.append(symbol)
        return desk_state(trading, account, symbol)

    monkeypatch.setattr(live, "desk_state", counted)

    for _ in range(100):
        live.desk_answer(stage.trading, "", "AAPL")

    assert looks == ["AAPL"]


@pytest.mark.parametrize(("query", "site", "expected"), [("symbol=..%2F", "same-origin", 422), ("", "cross-site", 403)])
async def test_a_wrong_or_foreign_question_is_refused(query: str, site: str, expected: int) -> None:
    status, _, _ = await get(live.DESK_PATH, query, site=site)

    assert status == expected


# A line that was moved


@pytest.mark.parametrize(
    ("moved", "kind", "payload"),
    [
        (
            {"kind": "protect", "field": "stop", "order": ""},
            Kind.PROTECT,
            {"account": "main", "symbol": "AAPL", "stop": "95.01"},
        ),
        ({"kind": "change", "field": "limit", "order": "e1"}, Kind.CHANGE, {"order": "e1", "limit": "95.01"}),
    ],
)
def test_a_moved_line_asks_for_protection_or_for_another_price(
    moved: dict[str, str], kind: Kind, payload: dict[str, str]
) -> None:
    whole = {"key": "k" * 32, "account": "main", "symbol": "AAPL", "price": "95.01", **moved}

    assert moved_lines.read_move(whole) == ("k" * 32, kind, payload)


def test_a_moved_line_cannot_ask_for_anything_else() -> None:
    with pytest.raises(ValueError, match="cannot ask for kill level"):
        moved_lines.read_move({"key": "k" * 32, "kind": "kill", "field": "level", "price": "4"})


# The switch on a page


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A dashboard without an engine over an empty folder."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.setenv("ENGINE", "off")
    monkeypatch.chdir(ROOT)
    bootstrap.people.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield tmp_path / "data"
    bootstrap.people.cache_clear()
    pu.use_desk(None)


def settings_page() -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "settings.py"), default_timeout=60).run()
    assert not at.exception, at.exception
    return at


def pressed(at: AppTest, label: str) -> AppTest:
    at = next(button for button in at.button if button.label.startswith(label)).click().run()
    assert not at.exception, at.exception
    return at


def test_where_no_ledger_is_the_switch_leaves_the_halt_file(home: Path) -> None:
    at = pressed(settings_page(), "Stop trading")

    pressed(at, "Stop now")

    [path] = home.glob("HALT-*")
    assert path.read_text() == "2 pressed in the dashboard\n"


def test_the_switch_asks_the_engine_to_stop_and_leaves_no_file(home: Path) -> None:
    place = bootstrap.trading().place
    ledger, _ = founded(place.ledger_url, ManualClock(NOW))
    at = pressed(settings_page(), "Stop trading")

    pressed(at, "Stop now")

    [command] = bootstrap.trading().inbox.pending()
    assert (command.kind, command.payload) == (Kind.KILL, {"level": 2, "reason": "pressed in the dashboard"})
    assert list(home.glob("HALT*")) == []
    ledger.close()


def test_flattening_without_its_word_asks_nothing(home: Path) -> None:
    ledger, _ = founded(bootstrap.trading().place.ledger_url, ManualClock(NOW))
    at = pressed(settings_page(), "Stop trading")
    at.radio(key=next(r.key for r in at.radio if r.key.startswith("desk_level_"))).set_value(KillLevel.FLATTEN)

    pressed(at, "Stop now")

    assert bootstrap.trading().inbox.pending() == []
    ledger.close()


def test_the_sign_in_is_one_line_of_the_bar() -> None:
    told = {"label": "E*TRADE", "account": "••••9377", "signed_in": True, "owner": True, "seconds_left": 18_725.0}

    def line(**changed: object) -> object:
        status = EngineStatus("engine 1 on here", 1, NOW, NOW, "ready", {"etrade": {**told, **changed}})
        return etrade_words(status)

    assert line() == {"tone": "good", "words": "E*TRADE ••••9377 · signed in, 5 h 12 min left"}
    assert line(signed_in=False) == {"tone": "bad", "words": "E*TRADE: sign in"}
    assert line(signed_in=False, owner=False) == {"tone": "warn", "words": "E*TRADE: another process has it"}
    assert etrade_words(EngineStatus("engine 1 on here", 1, NOW, NOW, "ready")) is None
    assert etrade_words(None) is None
