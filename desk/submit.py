"""One way for every order: gather the world, ask every gate, write the intent with the gates' word, send it once."""

from __future__ import annotations

from decimal import Decimal

from desk.records import Decision
from desk.rows import request_values
from desk.sending import send
from desk.tools import Tools
from desk.world import context
from desk.writing import Writing
from domain.commands import Answer, CommandState
from domain.orders import Order, OrderRequest, Purpose, Status
from risk_manager import Approved, Denied

ZERO = Decimal(0)
MOST_SAID = 600


async def review(
    tools: Tools,
    request: OrderRequest,
    *,
    actor: str,
    linked: frozenset[str] = frozenset(),
    fees: Decimal = ZERO,
    root: str = "",
) -> Approved | Denied:
    """Every gate's word on it, in the world as it is now."""
    world = await context(tools, request, actor=actor, linked=linked, fees=fees, root=root)
    return tools.risk.review(request, world)


def decision(answer: Approved | Denied, command_key: str = "") -> Decision:
    """What the ledger keeps of a review."""
    verdicts = [verdict.to_dict() for verdict in answer.verdicts]
    return Decision(
        isinstance(answer, Approved), verdicts, request=request_values(answer.request), command_key=command_key
    )


async def submit(
    tools: Tools,
    request: OrderRequest,
    *,
    actor: str,
    order_id: str = "",
    command_key: str = "",
    linked: frozenset[str] = frozenset(),
    parent: str = "",
) -> Order:
    """Review, write down, send. A refusal is written down too, as an order DENIED at birth. The command behind it is
    answered in the transaction of the intent, so that neither can be there without the other."""
    root = parent if request.purpose is Purpose.ENTRY else ""
    answer = await review(tools, request, actor=actor, linked=linked, root=root)
    approved = isinstance(answer, Approved)
    now = tools.now()
    order = Order(
        id=order_id or f"o-{tools.ids()}",
        request=request,
        status=Status.NEW if approved else Status.DENIED,
        created=now,
        updated=now,
        parent=parent,
        reasons=() if approved else answer.reasons,  # type: ignore[union-attr]
    )
    with tools.write() as write:
        write.add_order(order, decision(answer, command_key), actor=actor)
        if command_key:
            _answer(write, command_key, order)
    return await send(tools, order, answer) if isinstance(answer, Approved) else order


def _answer(write: Writing, key: str, order: Order) -> None:
    asked = order.request
    if order.status is Status.DENIED:
        write.answer_command(key, refused(" ".join(order.reasons), order=order.id, reasons=list(order.reasons)))
        return
    said = f"{asked.side.capitalize()} {asked.quantity.normalize():f} {asked.symbol}: on its way to the broker."
    write.answer_command(key, done(said, order=order.id))


def done(said: str, **details: object) -> Answer:
    """A command that was done."""
    return Answer(CommandState.DONE, said[:MOST_SAID], dict(details))


def refused(said: str, **details: object) -> Answer:
    """A command that was refused."""
    return Answer(CommandState.REFUSED, said[:MOST_SAID], dict(details))
