"""The strings behind the stage, under /simulator: clock, prices, ticks, rules, faults, counters and the whole truth."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from domain.calendars import NEW_YORK
from domain.errors import DataError
from domain.instruments import instrument
from domain.matching import FillRules
from simulator import _happenings as happenings
from simulator._faults import Fault
from simulator._limits import LIMITS
from simulator._market import STATUSES, Row, phase
from simulator._state import Account, Kept
from simulator._wire import Call, Refused, Reply, Tree, as_list, written

if TYPE_CHECKING:
    from simulator._server import Etrade

DAY_S = 86_400


async def answer(server: Etrade, call: Call) -> Reply:
    """A control call. What is wrong with it is said with status 400."""
    name = "/".join(call.route[1:])
    action = _ROUTES.get((call.method, name))
    if action is None:
        there = ", ".join(f"{method} /simulator/{route}" for method, route in _ROUTES)
        return written({"error": f"no such control route; there are {there}"}, True, 404)
    if call.method == "POST" and "json" not in call.headers.get("Content-Type", ""):
        return written({"error": "send JSON, with Content-Type: application/json"}, True, 400)
    try:
        wish = json.loads(call.body or b"{}")
        if not isinstance(wish, dict):
            raise ValueError("send a JSON object")
        return written(await action(server, wish), True)
    except (ValueError, TypeError, KeyError, ArithmeticError, OverflowError, DataError, Refused) as error:
        return written({"error": str(error)}, True, 400)


async def _status(server: Etrade, wish: Tree) -> Tree:
    now = server.clock.now()
    return {
        "now": now.isoformat(),
        "new_york": now.astimezone(NEW_YORK).isoformat(),
        "stopped": server.clock.stopped is not None,
        "server_clock": server.clock.server().isoformat(),
        "market": phase(now).value,
        "tokens": [{"token": name, "state": state.value} for name, state, _ in server.keeper.states()],
        "accounts": [{"accountId": a.account_id, "accountIdKey": a.key, "mode": a.mode} for a in server.state.accounts],
        "symbols": server.market.known,
    }


async def _clock(server: Etrade, wish: Tree) -> Tree:
    """`to` (ISO, New York where no zone is written), `by` seconds, `stop` true or false, `skew` seconds."""
    clock = server.clock
    if "stop" in wish:
        clock.stop() if wish["stop"] else clock.go_on()
    if "to" in wish:
        moment = datetime.fromisoformat(str(wish["to"]))
        clock.move_to(moment if moment.tzinfo else moment.replace(tzinfo=NEW_YORK))
    if "by" in wish:
        clock.move_to(clock.now() + timedelta(seconds=_number(wish, "by")))
    if "skew" in wish:
        clock.skew = timedelta(seconds=_number(wish, "skew"))
    server.book.settle()
    return await _status(server, wish)


async def _price(server: Etrade, wish: Tree) -> Tree:
    """A symbol's price from now on; orders meet it at the next tick."""
    row = Row.read(wish)
    server.market.set_price(row)
    return {"symbol": row.symbol, "last": str(row.last)}


async def _halt(server: Etrade, wish: Tree) -> Tree:
    """A symbol's trading stops, or with `on` false goes on; a price that is set ends a halt too."""
    symbol, on = instrument(str(wish["symbol"])).symbol, bool(wish.get("on", True))
    await server.market.halt(symbol, on)
    return {"symbol": symbol, "halted": on}


async def _tape(server: Etrade, wish: Tree) -> Tree:
    rows = [Row.read(row) for row in as_list(wish.get("rows")) if isinstance(row, dict)]
    server.market.script(rows)
    return {"rows": len(rows)}


async def _no_tape(server: Etrade, wish: Tree) -> Tree:
    server.market.forget()
    return {"rows": 0}


async def _tick(server: Etrade, wish: Tree) -> Tree:
    """One turn of the market; a stopped clock moves on by `seconds` (1) first."""
    default = 1.0 if server.clock.stopped else 0.0
    by = _number(wish, "seconds") if "seconds" in wish else default
    if by:
        server.clock.move_to(server.clock.now() + timedelta(seconds=by))
    await server.tick()
    return {"now": server.clock.now().isoformat()}


async def _counters(server: Etrade, wish: Tree) -> Tree:
    limits = server.limits
    return {
        "calls": dict(limits.calls),
        "over_limit": {module: limits.over[module] for module in LIMITS},
        "busiest_second": dict(limits.busiest),
        "left_this_hour": limits.left(),
        "routes": dict(server.routes),
        "statuses": {str(status): many for status, many in server.statuses.items()},
        "oauth_problems": dict(server.problems),
    }


async def _reset(server: Etrade, wish: Tree) -> Tree:
    """Accounts, prices, faults and counters as at the start; tokens too with `tokens`."""
    server.reset(tokens=bool(wish.get("tokens", False)))
    return await _status(server, wish)


async def _faults(server: Etrade, wish: Tree) -> Tree:
    return {"faults": [fault.told() for fault in server.faults.faults]}


async def _add_fault(server: Etrade, wish: Tree) -> Tree:
    server.faults.faults.append(Fault.read(wish))
    return await _faults(server, wish)


async def _no_faults(server: Etrade, wish: Tree) -> Tree:
    server.faults.faults.clear()
    return {"faults": []}


async def _rules(server: Etrade, wish: Tree) -> Tree:
    """How it fills and how strict it is; see docs/simulator.md."""
    for name, value in wish.items():
        if name not in _SETTERS:
            raise ValueError(f"no rule is called {name!r}. There are: {', '.join(_SETTERS)}")
        _SETTERS[name](server, value)
    return {"rules": list(wish)}


async def _book(server: Etrade, wish: Tree) -> Tree:
    """What the broker truly has: every order with its clientOrderId, cash and shares."""
    return {"accounts": [_account(account) for account in server.state.accounts]}


async def _position(server: Etrade, wish: Tree) -> Tree:
    """Put shares into an account as if they had been bought before."""
    row = Row.read({"symbol": wish["symbol"], "last": wish["price"]})
    account = server.accounts.find(str(wish["account"]))
    before = server.clock.now() - timedelta(seconds=DAY_S)
    server.book.move_shares(account, row.symbol, Decimal(str(wish["quantity"])), row.last, before, 0)
    return _account(account)


async def _split(server: Etrade, wish: Tree) -> Tree:
    """`symbol`, `ratio` such as 10:1 (new to old)."""
    last = await happenings.split(server, str(wish["symbol"]), str(wish["ratio"]))
    return {"symbol": str(wish["symbol"]), "last": str(last), **await _book(server, wish)}


async def _symbol(server: Etrade, wish: Tree) -> Tree:
    """`from` one symbol `to` another."""
    await happenings.rename(server, str(wish["from"]), str(wish["to"]))
    return await _book(server, wish)


async def _cash(server: Etrade, wish: Tree) -> Tree:
    """`account` (key), `amount`, `type`, and `description`, `symbol` where it has them."""
    account, moved = server.accounts.find(str(wish["account"])), happenings.amount(wish["amount"])
    words = [str(wish.get(name) or "") for name in ("type", "description", "symbol")]
    happenings.cash(server, account, moved, *words)
    return _account(account)


async def _by_hand(server: Etrade, wish: Tree) -> Tree:
    """`account` (key), `symbol`, `action`, `quantity`, and `price_type`, `limit`, `stop`, `term`, `session`."""
    return _order(await happenings.by_hand(server, server.accounts.find(str(wish["account"])), wish))


async def _tokens(server: Etrade, wish: Tree) -> Tree:
    """`revoke` all tokens; `reject_key` true or false: E*TRADE has disabled the demo key."""
    if wish.get("revoke"):
        for _, _, token in server.keeper.states():
            token.revoked = True
    if "reject_key" in wish:
        rejected = server.keeper.rejected_keys
        rejected.clear()
        if wish["reject_key"]:
            rejected.update(server.keeper.consumers)
    return await _status(server, wish)


_ROUTES: dict[tuple[str, str], Callable[[Etrade, Tree], Awaitable[Tree]]] = {
    ("GET", ""): _status,
    ("POST", "clock"): _clock,
    ("POST", "price"): _price,
    ("POST", "halt"): _halt,
    ("POST", "tape"): _tape,
    ("DELETE", "tape"): _no_tape,
    ("POST", "tick"): _tick,
    ("GET", "counters"): _counters,
    ("POST", "reset"): _reset,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _no_faults,
    ("POST", "rules"): _rules,
    ("GET", "book"): _book,
    ("POST", "position"): _position,
    ("POST", "split"): _split,
    ("POST", "symbol"): _symbol,
    ("POST", "cash"): _cash,
    ("POST", "order"): _by_hand,
    ("POST", "tokens"): _tokens,
}


def _account(account: Account) -> Tree:
    return {
        "accountId": account.account_id,
        "cash": str(account.cash),
        "positions": {symbol: str(held.quantity) for symbol, held in account.holdings.items()},
        "orders": [_order(kept) for kept in account.orders],
    }


def _order(kept: Kept) -> Tree:
    asked = kept.ticket
    return {
        "orderId": kept.order_id,
        "clientOrderId": asked.client_order_id,
        "symbol": asked.symbol,
        "action": asked.action,
        "quantity": str(asked.quantity),
        "status": kept.status.value,
        "filled": str(kept.filled),
    }


def _number(wish: Tree, name: str) -> float:
    return float(str(wish[name]))


def _slippage(server: Etrade, value: object) -> None:
    server.book.rules = replace(server.book.rules, slippage_bps=float(str(value)))


def _half_spread(server: Etrade, value: object) -> None:
    server.book.rules = replace(server.book.rules, half_spread_bps=float(str(value)))


def _volume_cap(server: Etrade, value: object) -> None:
    """None or 0: whatever is asked fills."""
    cap = float(str(value or 0))
    rules: FillRules = server.book.rules
    changed = replace(rules, volume_cap=cap, ignore_volume=False) if cap else replace(rules, ignore_volume=True)
    server.book.rules = changed


def _quote_status(server: Etrade, value: object) -> None:
    if value and value not in STATUSES:
        raise ValueError(f"quote_status must be empty or one of {', '.join(STATUSES)}: got {value!r}")
    server.market.quote_status = str(value or "")


def _duplicates(server: Etrade, value: object) -> None:
    server.book.accept_duplicates = _choice("duplicates", value, "accept", "refuse")


def _rate_reply(server: Etrade, value: object) -> None:
    server.limits.as_page = _choice("rate_reply", value, "html", "error")


def _limited(server: Etrade, value: object) -> None:
    """True or false, or `{module: [a second, an hour]}`."""
    if isinstance(value, dict):
        for module, (second, hour) in value.items():
            if module not in LIMITS:
                raise ValueError(f"limits are for {', '.join(LIMITS)}: got {module!r}")
            server.limits.limits[module] = (int(second), int(hour))
    server.limits.enforced = bool(value)


def _overlap(server: Etrade, value: object) -> None:
    server.overlap = bool(value)


def _choice(name: str, value: object, yes: str, no: str) -> bool:
    if value not in (yes, no):
        raise ValueError(f"{name} must be {yes} or {no}: got {value!r}")
    return value == yes


_SETTERS: dict[str, Callable[[Etrade, object], None]] = {
    "slippage_bps": _slippage,
    "half_spread_bps": _half_spread,
    "volume_cap": _volume_cap,
    "quote_status": _quote_status,
    "duplicates": _duplicates,
    "rate_reply": _rate_reply,
    "limits": _limited,
    "page_overlap": _overlap,
}
