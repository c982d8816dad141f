"""Preview and place: a ticket worked out, judged by every gate, and sent once under the token of its preview."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from brokers.base import Estimate
from desk import ticket
from desk.authority import name_of
from desk.closing import Closing, order_id_of
from desk.lookups import freed, held_of
from desk.records import Waiting
from desk.submit import decision, done, review, submit
from desk.ticket import TicketFault, text
from desk.tools import Tools
from desk.world import equity_of
from domain.clock import speed_of
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import OrderRefused
from domain.instruments import instrument
from domain.orders import OrderRequest, OrderType, Purpose, TimeInForce
from risk_manager import Approved

ZERO = Decimal(0)
PREVIEW_LIVES = timedelta(seconds=60)


class Placing:
    """What becomes of a ticket."""

    def __init__(self, tools: Tools, closing: Closing) -> None:
        self._tools, self._closing = tools, closing

    async def preview(self, waiting: Waiting) -> Answer:
        payload = waiting.command.payload
        what = instrument(text(payload, "symbol"))
        account = text(payload, "account")
        quote, history = await self._tools.facts.quote(what.symbol), await self._tools.facts.history(what.symbol)
        for held in self._tools.reader.positions(account):
            await self._tools.facts.quote(held)
        market = ticket.Market(quote, history.atr, equity_of(self._tools, account))
        worked = ticket.worked_out(payload, market, self._tools.risk)
        request = self._meant(worked.request)
        estimate, said = await self._estimate(request)
        fees = estimate.fees if estimate else ZERO
        answer = await review(
            self._tools, request, actor=waiting.command.actor, fees=fees, linked=freed(self._tools, request)
        )
        with self._tools.write() as write:
            write.add_decision(decision(answer, waiting.command.key))
        details = {
            "request": ticket.to_json(request),
            "approved": isinstance(answer, Approved) and not said,
            "token": token_of(waiting.command.key),
            "expires": (self._tools.now() + PREVIEW_LIVES * speed_of(self._tools.clock)).isoformat(),
            "verdicts": [_plainly(verdict.to_dict()) for verdict in answer.verdicts],
            "broker_said": said,
            "sizing": worked.sizing,
            "atr": None if history.atr is None else str(history.atr),
            "atr_note": "ATR of 14 daily candles",
            "quote": _quote_words(self._tools, what.symbol),
            "estimate": None,
            **_at_the_exits(request, estimate.price if estimate else None),
        }
        if estimate is not None:
            found = {a.name: a for a in await self._tools.broker.accounts()}
            details["notional"] = _money(estimate.price * request.quantity)
            details["estimate"] = {
                "price": _money(estimate.price, 4),
                "cost": _money(estimate.cost),
                "fees": _money(estimate.fees),
                "buying_power": _money(found[request.account].buying_power),
                "buying_power_after": _money(estimate.buying_power_after),
            }
        return done("Previewed; nothing was sent.", **details)

    def _meant(self, request: OrderRequest) -> OrderRequest:
        """An order against the position, no larger than it, closes: it passes as an exit, without exits of its own."""
        key = (request.account, request.symbol)
        held = held_of(self._tools, key, request.side)
        if held * request.side.sign >= 0 or request.quantity > abs(held):
            return request
        stop = self._tools.reader.protection(request.account).get(request.symbol)
        waits = request.type is not OrderType.MARKET and request.time_in_force is not TimeInForce.IOC
        if waits and stop is not None and stop.stops:
            raise TicketFault(
                f"The {request.symbol} you hold stand under a stop, and shares rest in one order only: set a target on "
                "the Positions page, close at market, or take the stop away first."
            )
        values = {**ticket.to_json(request), "purpose": str(Purpose.EXIT), "stop_loss": None, "target": None}
        values["stop_trail"] = None
        return ticket.from_json(values)

    async def _estimate(self, request: OrderRequest) -> tuple[Estimate | None, list[str]]:
        try:
            return await self._tools.broker.preview(request), []
        except OrderRefused as error:
            return None, [str(error)]

    async def place(self, waiting: Waiting) -> Answer | None:
        command = waiting.command
        request = ticket.from_json(command.payload.get("request"))
        if (preview := command.payload.get("preview")) is not None:
            self._check_preview(str(preview), command, request, waiting.asked)
        if request.purpose is Purpose.EXIT:
            return await self._closing.send(waiting, (request.account, request.symbol), request)
        await submit(
            self._tools, request, actor=command.actor, order_id=order_id_of(command.key), command_key=command.key
        )
        return None

    def _check_preview(self, key: str, command: Command, request: OrderRequest, asked: datetime) -> None:
        found = self._tools.reader.command(key)
        if found is None or found[0].kind is not Kind.PREVIEW or found[1].state is not CommandState.DONE:
            raise TicketFault("This order was not previewed: preview it first.")
        previewed, answer = found
        if name_of(previewed.actor) != command.actor or command.key != token_of(key):
            raise TicketFault("This preview is somebody else's: preview it yourself.")
        if ticket.from_json(answer.details["request"]) != request:
            raise TicketFault("This is not the order that was previewed: preview it again.")
        if answer.at is None or asked - answer.at > PREVIEW_LIVES * speed_of(self._tools.clock):
            raise TicketFault("The preview has expired, prices have moved on: preview it again.")


def token_of(preview_key: str) -> str:
    """The key under which the order of a preview may be placed: one preview, one order."""
    return "place-" + hashlib.sha256(f"place|{preview_key}".encode()).hexdigest()[:32]


def _at_the_exits(request: OrderRequest, price: Decimal | None) -> dict[str, str | None]:
    """What is lost at the stop and won at the target, before fees."""
    sign = request.side.sign
    loss = None if price is None or request.stop_loss is None else (price - request.stop_loss) * sign * request.quantity
    gain = None if price is None or request.target is None else (request.target - price) * sign * request.quantity
    return {
        "loss_at_stop": None if loss is None else _money(loss),
        "gain_at_target": None if gain is None else _money(gain),
    }


def _plainly(verdict: dict[str, Any]) -> dict[str, Any]:
    return {name: verdict[name] for name in ("gate", "outcome", "said", "reasons")}


def _money(value: Decimal, places: int = 2) -> str:
    return f"{value:.{places}f}"


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _quote_words(tools: Tools, symbol: str) -> dict[str, Any] | None:
    quote = tools.facts.quotes.get(symbol)
    if quote is None:
        return None
    age = (tools.now() - quote.time).total_seconds()
    prices = {name: _text(getattr(quote, name)) for name in ("bid", "ask", "last")}
    return {**prices, "age_s": round(age, 1), "delayed_s": quote.delayed_s}
