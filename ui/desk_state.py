"""What every page shows of the desk that trades, read anew each second: engine, trading state, money, lines on a chart.

It never raises. What cannot be read is said in words, and then trading counts as disabled. Amounts are text.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import bootstrap
from desk.control import Control
from desk.halt import halt_level
from desk.ledger import FOUNDING
from desk.reader import NO_LEDGER
from desk.records import AccountInfo, EngineStatus, HeardFill, Protection
from domain.breaker import Breaker
from domain.calendars import NEW_YORK
from domain.clock import speed_of
from domain.instruments import Instrument, instrument
from domain.orders import AT_BROKER, Order, Purpose, Side, Status
from domain.positions import ZERO, Account
from domain.quotes import Quote
from domain.trading_state import KillLevel, TradingState
from ui import standing, wording
from ui.asking import SILENT_AFTER
from ui.holdings import Holding, Totals, holdings, totals

MOST_FILLS = 200
LEVELS: dict[KillLevel, str] = {
    KillLevel.PAUSE: "PAUSED",
    KillLevel.CANCEL: "STOPPED",
    KillLevel.FLATTEN: "FLATTENING",
    KillLevel.HALT: "HALTED",
}
_DOES = {
    "recovering": "is starting up",
    "signed out": "waits for the sign-in",
    "frozen": "is waiting for a person",
}
_log = logging.getLogger(__name__)


def desk_state(trading: bootstrap.Trading, account: str = "", symbol: str = "") -> dict[str, Any]:
    """The desk as of now: `account` '' is the first one; with a `symbol`, what to draw on its chart as well."""
    common = {
        "desk": {"words": trading.place.words, "tone": trading.place.tone, "real_money": trading.place.real_money},
        "now_ms": int(trading.clock.now().timestamp() * 1000),
        "trouble": "",
    }
    try:
        return {**common, **_read(trading, account, symbol)}
    except Exception as error:  # noqa: BLE001 - a ledger that cannot be read is something to show, not to fail on
        _log.warning("the ledger cannot be read: %s", error)
        return {**common, **_unreadable(trading, error)}


def _read(trading: bootstrap.Trading, account: str, symbol: str) -> dict[str, Any]:
    reader, now = trading.reader, trading.clock.now()
    known = reader.accounts()
    info = next((one for one in known if one.name == account), known[0] if known else None)
    stand = trading_words(reader.trading_state(info.name if info else ""), halt_level(trading.place.halt_paths))
    if stand["level"] == KillLevel.FLATTEN and not any(reader.positions(one.name) for one in known):
        stand["words"] = "FLAT AND STOPPED"
    engine = reader.engine()
    words = engine_words(engine, now, reader.queued(), speed_of(trading.clock))
    words["problems"] = standing.untold(words["problems"], engine, trading.place)
    found: dict[str, Any] = {
        "engine": words,
        "banner": standing.banner(trading.place, engine, words["state"] != "running"),
        "notices": standing.notices(trading.place, engine),
        "etrade": etrade_words(engine),
        "trading": stand,
        "accounts": [{"name": one.name, "kind": one.kind} for one in known],
        "account": None,
        "symbol": _nothing_on(symbol) if symbol else None,
    }
    folded = reader.account(info.name) if info else None
    if info is None or folded is None:
        return found
    orders, plans, quotes = reader.open_orders(info.name), reader.protection(info.name), trading.book.quotes()
    positions = {held: position for held, position in folded.positions.items() if position.quantity}
    held = holdings(positions, quotes, plans, orders)
    found["account"] = _money(trading, info, folded, held, orders)
    if symbol:
        found["symbol"] = _on_chart(info.name, symbol, held, orders, plans.get(instrument(symbol).symbol), quotes) | {
            "fills": [fill_mark(heard) for heard in reader.fills(account=info.name, symbol=symbol, most=MOST_FILLS)]
        }
    return found


def _unreadable(trading: bootstrap.Trading, error: Exception) -> dict[str, Any]:
    said = f"The ledger cannot be read: {error}"
    control = Control(TradingState.DISABLED, reason=said)
    return {
        "engine": {**engine_words(None, trading.clock.now(), 0), "state": "unknown", "words": "Engine: not known"},
        "banner": standing.banner(trading.place, None, silent=True),
        "notices": [],
        "etrade": None,
        "trading": trading_words(control, _file(trading)) | {"words": "DISABLED", "why": said},
        "accounts": [],
        "account": None,
        "symbol": None,
        "trouble": said,
    }


def _file(trading: bootstrap.Trading) -> Any:
    try:
        return halt_level(trading.place.halt_paths)
    except Exception:  # noqa: BLE001 - the state is DISABLED already
        return None


# The engine and the right to trade


def engine_words(status: EngineStatus | None, now: datetime, queued: int, pace: float = 1.0) -> dict[str, Any]:
    """Whether an engine acts, where it runs, and what it has to complain of. Silent: no sign of life for 5 s, counted
    by this machine where the desk's clock has another `pace`."""
    if status is None:
        words, state = "NO ENGINE: orders wait", "never"
        return {"state": state, "words": words, "age_s": None, "problems": [], "queued": queued, "saying": ""}
    age, details = (now - status.beat) / pace, status.details
    silent = age > SILENT_AFTER or status.state == "stopping"
    return {
        "state": "silent" if silent else "running",
        "saying": status.state,
        "words": "NO ENGINE: orders wait" if silent else f"Engine {_runs(status)} {_where(status)}",
        "where": _where(status),
        "age_s": round(age.total_seconds(), 2),
        "silent_after_s": SILENT_AFTER.total_seconds(),
        "problems": [str(one) for one in details.get("problems", [])],
        "waiting_flatten": bool(details.get("waiting_flatten")),
        "flatten_estimate": str(details.get("flatten_estimate") or ""),
        "queued": queued,
    }


def etrade_words(status: EngineStatus | None) -> dict[str, str] | None:
    """One line about the sign-in at E*TRADE; None where this desk needs none."""
    told = status.details.get("etrade") if status else None
    if not told:
        return None
    name = f"{told['label']} {told['account']}".strip()
    if told["signed_in"]:
        hours, minutes = divmod(max(0, int(told["seconds_left"] // 60)), 60)
        return {"tone": "good", "words": f"{name} · signed in, {hours} h {minutes:02} min left"}
    if not told["owner"]:
        return {"tone": "warn", "words": f"{told['label']}: another process has it"}
    return {"tone": "bad", "words": f"{told['label']}: sign in"}


def _runs(status: EngineStatus) -> str:
    return _DOES.get(status.state, "runs")


def _where(status: EngineStatus) -> str:
    words = status.holder.split()
    pid = status.details.get("pid") or next((word for word in words if word.isdecimal()), "?")
    if (status.details.get("where") or words[:1]) in ("dashboard", ["dashboard"]):
        return "in this dashboard" if str(pid) == str(os.getpid()) else f"in another dashboard ({pid})"
    return f"in its own process {pid}"


def trading_words(control: Control, file: tuple[KillLevel, Any] | None = None) -> dict[str, Any]:
    """How much may be traded, and where not all: what stopped it, why, since when and by whom. A HALT `file` counts
    from the moment it lies there, whether or not an engine has seen it."""
    if file is not None and (control.level is None or file[0] > control.level):
        level, path = file
        control = Control(level.trading_state, level=level, reason=f"the file {path} is there", actor="file")
    founded = control.reason != NO_LEDGER
    # One that was never armed was never stopped: arming it is what lets it trade.
    stopped = founded and control.state is not TradingState.ENABLED and control.actor != FOUNDING
    return {
        "state": str(control.state),
        "level": int(control.level) if control.level and founded else None,
        "words": _state_words(control, founded),
        "means": control.level.means if control.level and founded else "",
        "why": control.reason if control.state is not TradingState.ENABLED else "",
        "by": control.actor if stopped else "",
        "since": f"{control.at.astimezone(NEW_YORK):%a %d %b %H:%M} New York" if control.at and stopped else "",
        "stopped": stopped,
        "file": str(file[1]) if file else "",
    }


def _state_words(control: Control, founded: bool) -> str:
    if control.state is TradingState.ENABLED:
        return "ENABLED"
    if not founded:
        return "NOT STARTED"
    if control.actor == FOUNDING:
        return "NEVER ARMED"
    return LEVELS[control.level] if control.level else str(control.state).upper()


# Money


def _money(
    trading: bootstrap.Trading, info: AccountInfo, folded: Account, held: list[Holding], orders: list[Order]
) -> dict[str, Any]:
    breaker = trading.reader.breaker(info.name)
    sums = totals(folded, held, day_began_with(trading, info, breaker))
    return {
        "name": info.name,
        "kind": info.kind,
        **_amounts(sums),
        "open_orders": len(orders),
        "positions": len(held),
        "without_price": [one.symbol for one in held if one.last is None],
        "without_stop": [one.symbol for one in held if one.unguarded > abs(folded.positions[one.symbol].outside)],
        "breaker": breaker.reason if breaker and breaker.latched else "",
    }


def _amounts(sums: Totals) -> dict[str, str | None]:
    """Texts as they are shown; None is what cannot be known without a price."""
    began = sums.equity - sums.day if sums.equity is not None and sums.day is not None else None
    percent = 100 * sums.day / began if sums.day is not None and began else None
    exposed = 100 * sums.exposure / sums.equity if sums.exposure is not None and sums.equity else None
    return {
        "equity": _text(sums.equity),
        "cash": _text(sums.cash),
        "day": None if sums.day is None else wording.signed(sums.day),
        "day_pct": None if percent is None else f"{wording.signed(percent)[2:]} %",
        "open": None if sums.open is None else wording.signed(sums.open),
        "exposure_pct": None if exposed is None else f"{exposed:.1f} %",
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else wording.amount(value)


def day_began_with(trading: bootstrap.Trading, info: AccountInfo, breaker: Breaker | None) -> Decimal | None:
    """The equity today's profit counts from: the breaker's, else the day's first point, else the last one known; an
    account opened today began with its cash."""
    midnight = trading.clock.now().astimezone(NEW_YORK).replace(hour=0, minute=0, second=0, microsecond=0)
    if breaker and breaker.start_equity and breaker.day == midnight.date():
        return breaker.start_equity
    if curve := trading.reader.equity_curve(info.name, midnight):
        return curve[0].equity
    if info.created >= midnight:
        return info.starting_cash
    return breaker.last_equity if breaker else None


# What is drawn on a chart


def _nothing_on(symbol: str) -> dict[str, Any]:
    what = instrument(symbol)
    return {**_steps(what), "account": "", "position": None, "lines": [], "fills": []}


def _steps(what: Instrument) -> dict[str, Any]:
    return {"symbol": what.symbol, "tick": str(what.tick), "decimals": what.decimals, "unit": _unit(what)}


def _unit(what: Instrument) -> str:
    return "" if what.is_crypto else " sh"


def _on_chart(
    account: str,
    symbol: str,
    held: list[Holding],
    orders: list[Order],
    plan: Protection | None,
    quotes: Mapping[str, Quote],
) -> dict[str, Any]:
    what = instrument(symbol)
    own = next((one for one in held if one.symbol == what.symbol), None)
    mine = [order for order in orders if order.request.symbol == what.symbol]
    return {
        **_steps(what),
        "account": account,
        "position": own
        and {
            "quantity": str(own.quantity),
            "average": wording.price(own.average, what),
            "open": None if own.profit is None else wording.signed(own.profit),
        },
        "lines": [*_position_lines(own, mine, plan), *_order_lines(mine)],
    }


def _position_lines(own: Holding | None, orders: list[Order], plan: Protection | None) -> list[dict[str, Any]]:
    if own is None:
        return []
    size = f"{wording.quantity(abs(own.quantity))}{_unit(own.what)}"
    price = wording.price(own.average, own.what)
    profit = "" if own.profit is None else f" · {wording.signed(own.profit)}"
    said = f"AVG {price} · {size}{' short' if own.quantity < 0 else ''}{profit}"
    average = _line("average", "average", own.average, said)
    average["short"] = f"AVG {price}"
    trailing = _trailing_lines(own, orders, plan)
    stops = trailing or _exit_lines(own, orders, Purpose.STOP, plan.stop if plan else None)
    targets = _exit_lines(own, orders, Purpose.TARGET, plan.target if plan else None)
    return [average, *stops, *targets]


def _trailing_lines(own: Holding, orders: list[Order], plan: Protection | None) -> list[dict[str, Any]]:
    """Where a trailing stop that rests has come to. It moves by itself, so that nobody can drag it."""
    resting = [o for o in orders if o.request.purpose is Purpose.STOP and o.request.trail is not None]
    if not resting or plan is None or plan.trail is None or plan.level is None:
        return []
    level = own.what.round_price(plan.level)
    line = _exit_line(own, "stop", level, resting, main=False)
    said = f"STOP {wording.trailing(plan.trail, level)}"
    return [line | {"short": said, "text": line["text"].replace(f"STOP {wording.price(level, own.what)}", said, 1)}]


def _exit_lines(own: Holding, orders: list[Order], purpose: Purpose, planned: Decimal | None) -> list[dict[str, Any]]:
    """A line a price: the plan's can be moved, whether or not it rests yet; one that is just being replaced cannot."""
    kind = "stop" if purpose is Purpose.STOP else "target"
    resting: dict[Decimal, list[Order]] = defaultdict(list)
    for order in orders:
        price = order.request.stop if purpose is Purpose.STOP else order.request.limit
        if order.request.purpose is purpose and price is not None:
            resting[price].append(order)
    main = planned if planned is not None else next(iter(resting), None)
    prices = [main, *(price for price in resting if price != main)] if main is not None else []
    return [_exit_line(own, kind, price, resting.get(price, []), main=price == main) for price in prices]


def _exit_line(own: Holding, kind: str, price: Decimal, resting: list[Order], *, main: bool) -> dict[str, Any]:
    shares = sum((order.remaining for order in resting), ZERO) or abs(own.quantity)
    said = f"{kind.upper()} {wording.price(price, own.what)}"
    size = f"{wording.quantity(shares)}{_unit(own.what)}"
    text = f"{said} · {size} · {_gain(own.gain(shares, price))}{_unrest(resting)}"
    line = _line(kind if main else f"{kind}:{price}", kind, price, text)
    line |= {"short": said, "shares": str(shares), "average": str(own.average), "sign": 1 if own.quantity > 0 else -1}
    if main:
        line |= {"draggable": True, "command": {"kind": "protect", "field": kind}}
    return line


def _unrest(orders: list[Order]) -> str:
    """What keeps an exit from resting at the broker; '' where it rests."""
    odd = next((order.status for order in orders if not _rests(order)), None)
    return " · not resting yet" if not orders else f" · {wording.STATES[odd]}" if odd else ""


def _rests(order: Order) -> bool:
    return order.status in AT_BROKER and order.status is not Status.CANCELLING


def _order_lines(orders: Iterable[Order]) -> list[dict[str, Any]]:
    return [line for order in orders for line in _lines_of(order)]


def _lines_of(order: Order) -> list[dict[str, Any]]:
    """A resting entry or exit; a stop limit has a line for each of its prices."""
    asked = order.request
    if asked.purpose in (Purpose.STOP, Purpose.TARGET):
        return []
    rests = _rests(order)
    what = instrument(asked.symbol)
    size = f"{wording.quantity(order.remaining)}{_unit(what)}"
    lines = []
    for field, price in (("limit", asked.limit), ("stop", asked.stop)):
        if price is None:
            continue
        said = f"{asked.side.upper()} {field.upper()} {wording.price(price, what)}"
        words = f"{said} · {size}" + ("" if rests else f" · {wording.STATES[order.status]}")
        line = _line(f"{order.id}:{field}", str(asked.purpose), price, words)
        line |= {"short": said, "shares": str(order.remaining), "side": str(asked.side)}
        if rests:
            line |= {"draggable": True, "command": {"kind": "change", "field": field, "order": order.id}}
        lines.append(line)
    return lines


def _line(name: str, kind: str, price: Decimal, text: str) -> dict[str, Any]:
    return {"id": name, "kind": kind, "price": format(price, "f"), "text": text, "short": text, "draggable": False}


def _gain(profit: Decimal) -> str:
    rounded = profit.quantize(wording.CENT)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded):,f}"


def fill_mark(heard: HeardFill) -> dict[str, Any]:
    """A trade of ours as a mark on the chart."""
    fill = heard.fill
    verb = "Bought" if fill.side is Side.BUY else "Sold"
    return {
        "ms": int(fill.time.timestamp() * 1000),
        "side": str(fill.side),
        "quantity": str(fill.quantity),
        "price": format(fill.price, "f"),
        "text": f"{verb} {wording.quantity(fill.quantity)} at {wording.quantity_price(fill.price)}, "
        f"fee {wording.amount(fill.fee)} · {fill.time.astimezone(NEW_YORK):%a %d %b %H:%M:%S} New York",
    }
