"""The checks of what the account can bear: size, exposure after all that rests, losses, the pace of orders, and money.

Shares are compared by multiplication, never by division: a whole that is zero then refuses too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from domain.context import (
    ZERO,
    AccountKind,
    Case,
    Sent,
    Unreadable,
    flag,
    mapping,
    moment,
    money,
    names,
    number,
)
from domain.order_checks import UNIT_FACTOR
from domain.orders import Order, Purpose, Side
from domain.verdicts import Finding, must, should

# Marks and the broker's own figure differ by seconds, never by more than this part of the equity.
EQUITY_AGREES = Decimal("0.02")
# More than any one instrument has ever traded in a day: an average daily volume above it is in dollars or lots.
MOST_TRADED = Decimal(300_000_000_000)
# Portfolio margin lends up to about 6.7 times the equity; nobody lends more.
MOST_LEVERAGE = 7
# Fees above this part of an order are in the wrong unit.
MOST_FEES = Decimal("0.1")
LONGEST_DAY = timedelta(hours=26)


# Size


def quantity(case: Case) -> Iterator[Finding]:
    most = case.limit("max_quantity")
    yield must(
        case.quantity <= most, f"{case.quantity} in one order, at most {most} are allowed (max_quantity): order less."
    )


def worth(case: Case) -> Iterator[Finding]:
    most, share = case.limit("max_notional"), case.limit("max_position_pct")
    notional = case.notional
    yield must(
        notional <= most, f"The order is worth {notional:.2f}, at most {most} is allowed (max_notional): order less."
    )
    yield _share(case, "The order", notional, share, "max_position_pct")


def risk_at_stop(case: Case) -> Iterator[Finding]:
    asked = case.request
    if asked.stop_loss is None and asked.stop_trail is None:
        yield should(False, "No stop is attached: what this position can lose is not bounded.")
        return
    entry = case.worst_price if asked.side is Side.BUY else asked.limit or min(case.bid, asked.stop or case.bid)
    lost = case.quantity * min(_distances(case, entry))
    yield _share(case, "The loss at the stop", lost, case.limit("risk_per_trade_pct"), "risk_per_trade_pct")


def _distances(case: Case, entry: Decimal) -> Iterator[Decimal]:
    """How far from the entry its stop and its trailing stop lie: whichever is nearer sells first. A trail begins where
    the market stands when the entry fills."""
    asked = case.request
    if asked.stop_loss is not None:
        yield abs(entry - money("stop_loss", asked.stop_loss, above=ZERO))
    if asked.stop_trail is not None:
        begins = case.mid if asked.limit is None and asked.stop is None else entry
        yield abs(entry - begins) + money("stop_trail", asked.stop_trail, above=ZERO)


def daily_volume(case: Case) -> Iterator[Finding]:
    adv, most = money("adv", case.context.adv, above=ZERO), case.limit("max_adv_pct")
    yield must(
        adv * case.mid <= MOST_TRADED, f"Nothing trades {adv} shares a day at {case.mid}: give the volume in shares."
    )
    said = f"The order is {100 * case.quantity / adv:.3f} % of a day's volume, at most {most} % is allowed: order less."
    yield must(100 * case.quantity <= most * adv, said)


# Exposure, once every resting entry has filled at its worst


def figures_agree(case: Case) -> Iterator[Finding]:
    """Equity is cash and positions, and the price asked for is the price we know: what catches cents for dollars."""
    equity, cash = case.equity, money("cash", case.context.cash)
    held = {symbol: case.held(symbol) for symbol in mapping("positions", case.context.positions)}
    for symbol in mapping("prices", case.context.prices):
        case.price(symbol)
    total = cash + sum((shares * case.price(symbol) for symbol, shares in held.items() if shares), ZERO)
    said = f"Equity is {equity}, cash and positions come to {total:.2f}: reconcile before entering."
    yield must(abs(equity - total) <= EQUITY_AGREES * equity, said)
    known, mid = case.price(case.request.symbol), case.mid
    said = f"{case.request.symbol} was last worth {known}, the quote says {mid}: check the units."
    yield must(known < UNIT_FACTOR * mid and mid < UNIT_FACTOR * known, said)


def exits_fit(case: Case) -> Iterator[Finding]:
    for order in case.resting():
        if order.request.purpose is not Purpose.ENTRY:
            held, symbol = abs(case.held(order.request.symbol)), order.request.symbol
            said = f"Resting {order.request.purpose} {order.id} is for {order.remaining} {symbol}, held are {held}"
            yield must(order.remaining <= held, f"{said}: reconcile first.")


def groups_known(case: Case) -> Iterator[Finding]:
    """Sectors and correlations can be read, every one of them."""
    for symbol, sector in mapping("sectors", case.context.sectors).items():
        yield must(isinstance(sector, str), f"the sector of {symbol} must be a name: got {sector!r}.")
    for symbol, row in mapping("correlations", case.context.correlations).items():
        for other, value in mapping(f"correlations of {symbol}", row).items():
            of = number(f"the correlation of {symbol} and {other}", value)
            yield must(
                abs(of) <= 1 + Decimal("1e-9"),
                f"The correlation of {symbol} and {other} must lie in [-1, 1]: got {of}.",
            )


def gross(case: Case) -> Iterator[Finding]:
    total = sum(_exposures(case).values(), ZERO)
    yield _share(case, "All positions and entries together", total, case.limit("max_gross_pct"), "max_gross_pct")


def per_symbol(case: Case) -> Iterator[Finding]:
    symbol = case.request.symbol
    yield _share(case, f"All of {symbol}", _exposures(case)[symbol], case.limit("max_symbol_pct"), "max_symbol_pct")


def per_sector(case: Case) -> Iterator[Finding]:
    sector = _sector(case, case.request.symbol)
    total = sum((worth for symbol, worth in _exposures(case).items() if _sector(case, symbol) == sector), ZERO)
    named = f"Sector {sector}" if sector else "Everything without a sector"
    yield _share(case, named, total, case.limit("max_sector_pct"), "max_sector_pct")


def correlated(case: Case) -> Iterator[Finding]:
    """Every symbol that moves with this one has a group of its own, and this order adds to all of them."""
    exposures, threshold = _exposures(case), case.limit("correlation_threshold")
    groups = {s: [o for o in exposures if _correlation(case, s, o) >= threshold] for s in exposures}
    mine = [group for group in groups.values() if case.request.symbol in group]
    worst = max(mine, key=lambda group: sum(exposures[s] for s in group))
    total = sum((exposures[s] for s in worst), ZERO)
    named = f"What moves together ({', '.join(sorted(worst))})"
    yield _share(case, named, total, case.limit("max_group_pct"), "max_group_pct")


def open_positions(case: Case) -> Iterator[Finding]:
    count, most = len(_exposures(case)), case.limit("max_open_positions")
    said = f"That would be {count} symbols at once, at most {most} are allowed (max_open_positions): close one first."
    yield must(count <= most, said)


def _exposures(case: Case) -> dict[str, Decimal]:
    """What each symbol could come to be worth, bought and sold sides taken each alone, by the higher of its prices."""
    asked = case.request
    wishes = [(asked.symbol, asked.side, case.quantity, case.worst_price)]
    for order in case.entries():
        one = order.request
        wishes.append((one.symbol, one.side, order.remaining, _price_of(case, order)))
    held = {s: case.held(s) for s in mapping("positions", case.context.positions) if case.held(s)}
    return {symbol: _worst(case, symbol, wishes) for symbol in sorted({*held, *(wish[0] for wish in wishes)})}


def _worst(case: Case, symbol: str, wishes: list[tuple[str, Side, Decimal, Decimal]]) -> Decimal:
    mine = [wish for wish in wishes if wish[0] == symbol]
    bought = sum((shares for _, side, shares, _ in mine if side is Side.BUY), ZERO)
    sold = sum((shares for _, side, shares, _ in mine if side is Side.SELL), ZERO)
    held = case.held(symbol)
    return max(abs(held + bought), abs(held - sold)) * max(case.price(symbol), *(price for *_, price in mine), ZERO)


def _sector(case: Case, symbol: str) -> str:
    sector = mapping("sectors", case.context.sectors).get(symbol)
    if not isinstance(sector, str):
        raise Unreadable(f"the sector of {symbol} must be known, or be an empty name: got {sector!r}")
    return sector


def _correlation(case: Case, one: str, other: str) -> Decimal:
    if one == other:
        return Decimal(1)
    matrix = mapping("correlations", case.context.correlations)
    for first, second in ((one, other), (other, one)):
        row = mapping(f"correlations of {first}", matrix.get(first, {}))
        if second in row:
            return abs(number(f"the correlation of {first} and {second}", row[second]))
    return Decimal(1)


# Losses


def day_loss(case: Case) -> Iterator[Finding]:
    equity, start = case.equity, money("day_start_equity", case.context.day_start_equity, above=ZERO)
    most = case.limit("max_daily_loss_pct")
    said = (
        f"Today lost {100 * (start - equity) / start:.2f} %, entries stop at {most} % (max_daily_loss_pct): wait a day."
    )
    yield must(100 * (start - equity) < most * start, said)
    yield must(equity < UNIT_FACTOR * start, f"Equity {equity} and this morning's {start} cannot both be right.")


def drawdown(case: Case) -> Iterator[Finding]:
    equity, peak = case.equity, money("peak_equity", case.context.peak_equity, above=ZERO)
    most = case.limit("max_drawdown_pct")
    said = (
        f"Equity is {100 * (peak - equity) / peak:.2f} % under its peak, entries stop at {most} % (max_drawdown_pct)."
    )
    yield must(100 * (peak - equity) < most * peak, f"{said} Find out why before going on.")
    yield must(equity < UNIT_FACTOR * peak, f"Equity {equity} and its peak {peak} cannot both be right.")


def breaker(case: Case) -> Iterator[Finding]:
    open_ = case.context.breaker_latched is False
    yield must(open_, "The circuit breaker has tripped: a person must find out why and reset it.")


# Pace


def per_minute(case: Case) -> Iterator[Finding]:
    recent = sum(case.now - sent.time < timedelta(minutes=1) for sent in _sent(case))
    yield _one_more(recent, case.limit("max_orders_per_minute"), "in the last minute", "max_orders_per_minute")


def per_day(case: Case) -> Iterator[Finding]:
    began = moment("day_began", case.context.day_began)
    yield must(
        timedelta(0) <= case.now - began <= LONGEST_DAY,
        f"The exchange's day cannot have begun at {began.isoformat()}: give the start of today.",
    )
    today = sum(sent.time >= began for sent in _sent(case))
    yield _one_more(today, case.limit("max_orders_per_day"), "today", "max_orders_per_day")


def refusals(case: Case) -> Iterator[Finding]:
    count = number("consecutive_refusals", case.context.consecutive_refusals, low=ZERO)
    most = case.limit("max_consecutive_refusals")
    said = f"The broker refused {count} orders in a row, entries stop at {most}: read its answers, then release."
    yield must(count < most, said)


def duplicates(case: Case) -> Iterator[Finding]:
    asked, window = case.request, case.limit("duplicate_window_s")
    span = timedelta(seconds=float(window))
    same = (s for s in _sent(case) if s.symbol == asked.symbol and s.side is asked.side)
    found = any(case.now - sent.time < span for sent in same)
    yield must(
        not found, f"{asked.side} {asked.symbol} was ordered less than {window} s ago: wait, if it is meant twice."
    )


def _sent(case: Case) -> list[Sent]:
    sent = case.context.recent
    if not (isinstance(sent, tuple) and all(isinstance(each, Sent) for each in sent)):
        raise Unreadable(f"recent must be a tuple of sent orders: got {sent!r}")
    ahead = case.now + timedelta(seconds=float(case.limit("max_clock_skew_s")))
    for each in sent:
        if not moment("when an order was sent", each.time) <= ahead:
            raise Unreadable(f"an order cannot have been sent in the future: {each.time.isoformat()}")
        if not (isinstance(each.symbol, str) and isinstance(each.side, Side)):
            raise Unreadable(f"a sent order must say its symbol and side: got {each!r}")
    return list(sent)


def _one_more(count: int, most: Decimal, when: str, name: str) -> Finding:
    return must(count + 1 <= most, f"{count} orders went out {when}, at most {most} are allowed ({name}): slow down.")


# Money


def buying_power(case: Case) -> Iterator[Finding]:
    c, need = case.context, _cost(case)
    kind, power = c.account_kind, money("buying_power", c.buying_power, low=ZERO)
    if not isinstance(kind, AccountKind):
        raise Unreadable(f"the account must be cash or margin: got {kind!r}")
    cash = money("cash", c.cash)
    believable = power <= (cash if kind is AccountKind.CASH else MOST_LEVERAGE * case.equity)
    yield must(believable, f"No {kind} account has {power} to spend: check the unit, then reconcile.")
    yield must(need <= power, f"The order needs {need:.2f}, {power} may be spent: order less, or free some.")


def fees(case: Case) -> Iterator[Finding]:
    cost = money("fees", case.context.fees, low=ZERO)
    yield must(cost <= MOST_FEES * case.notional, f"Fees of {cost} on an order of {case.notional:.2f}: check them.")


def settled(case: Case) -> Iterator[Finding]:
    c = case.context
    cash, settled_cash = money("cash", c.cash), money("settled_cash", c.settled_cash)
    if c.account_kind is not AccountKind.CASH:
        return
    yield must(settled_cash <= cash, f"{settled_cash} is settled of {cash} in cash: that cannot be, reconcile.")
    free = settled_cash - sum(_cost_of_resting(case), ZERO)
    need = _cost(case)
    said = f"The purchase needs {need:.2f}, settled and free are {free:.2f}: sold before that money settles"
    strict = flag("settled_cash_only", case.limits.settled_cash_only)
    make = must if strict else should
    yield make(need <= free, f"{said}, it would be a good-faith violation. Order less, or wait a day.")


def short_sale(case: Case) -> Iterator[Finding]:
    if case.request.side is Side.BUY or case.opening == 0:
        return
    allowed = flag("shorting", case.limits.shorting)
    yield must(allowed, f"{case.opening} {case.request.symbol} more than is free would be sold short: order less.")
    margin = case.context.account_kind is AccountKind.MARGIN
    yield must(margin, "A cash account cannot sell short: sell what is held, or use a margin account.")


def good_faith(case: Case) -> Iterator[Finding]:
    selling = case.request.side is Side.SELL and case.context.account_kind is AccountKind.CASH
    unsettled = case.request.symbol in names("bought_unsettled", case.context.bought_unsettled)
    said = (
        f"{case.request.symbol} was bought with money that has not settled: selling it now is a good-faith violation."
    )
    yield should(not (selling and unsettled), said)


def _cost(case: Case) -> Decimal:
    return case.opening * case.worst_price + money("fees", case.context.fees, low=ZERO)


def _cost_of_resting(case: Case) -> Iterator[Decimal]:
    for order in case.entries():
        if order.request.side is Side.BUY:
            yield order.remaining * _price_of(case, order)


def _price_of(case: Case, order: Order) -> Decimal:
    asked = order.request
    named = next((price for price in (asked.limit, asked.stop) if price is not None), case.price(asked.symbol))
    return money(f"the price of order {order.id}", named, above=ZERO)


def _share(case: Case, thing: str, part: Decimal, most: Decimal, name: str) -> Finding:
    equity = case.equity
    said = (
        f"{thing} would be {100 * part / equity:.2f} % of the equity, at most {most} % is allowed ({name}): order less."
    )
    return must(100 * part <= most * equity, said)
