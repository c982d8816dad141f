"""Failures on request, by name: for the next so many matching calls, or by chance with a seed.

What a fault does to a reply is here; those that reach into the book or the wire are done by who owns these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from simulator._limits import rate_page
from simulator._oauth import OAuthProblem
from simulator._wire import JSON, Call, Refused, Reply, Tree, page, text, written

# Name: where it strikes unless told otherwise (`METHOD path`, any part of it), and whether it stays until cleared.
KNOWN: dict[str, tuple[str, bool]] = {
    "delay": ("", False),
    "drop_before": ("", False),
    "drop_after": ("", False),
    "error_before": ("", False),
    "error_after": ("", False),
    "oauth_problem": ("", False),
    "too_many": ("", False),
    "rate_page": ("", False),
    "maintenance": ("/v1/", True),
    "cut_body": ("", False),
    "bad_json": ("", False),
    "html_200": ("", False),
    "duplicate_rows": ("GET ", False),
    "reorder_rows": ("GET ", False),
    "list_lag": ("/orders", True),
    "list_open_only": ("/orders", True),
    "stale_quotes": ("/market/quote/", False),
    "delayed_quotes": ("/market/quote/", False),
    "nan_quotes": ("/market/quote/", False),
    "fill_during_cancel": ("/orders/cancel", False),
    "cancel_late": ("/orders/cancel", False),
}
ROWS = ("Order", "Position", "Transaction", "Alert", "QuoteData", "Account", "PositionLot")
PRICES = ("lastTrade", "bid", "ask")

RowChange = Callable[[list[object]], list[object]]


@dataclass(slots=True)
class Fault:
    """One entry of the plan. `times` None: until cleared; `hits` says how often it struck."""

    name: str
    where: str
    times: int | None
    probability: float
    seconds: float
    status: int
    problem: str
    rng: np.random.Generator = field(repr=False)
    hits: int = 0

    @classmethod
    def read(cls, wish: Tree) -> Fault:
        """ValueError names what is wrong with the wish."""
        name = str(wish.get("name", ""))
        if name not in KNOWN:
            raise ValueError(f"no fault is called {name!r}. There are: {', '.join(KNOWN)}")
        allowed = {"name", "where", "times", "probability", "seed", "seconds", "status", "problem"}
        if unknown := set(wish) - allowed:
            raise ValueError(
                f"{name}: {', '.join(sorted(unknown))} is unknown. There are: {', '.join(sorted(allowed))}"
            )
        where, stays = KNOWN[name]
        chance = float(str(wish.get("probability", 1)))
        if not 0 < chance <= 1:
            raise ValueError(f"{name}: probability must be above 0 and at most 1: got {chance}")
        standing = stays or chance < 1
        times = wish.get("times", None if standing else 1)
        return cls(
            name=name,
            where=str(wish.get("where", where)),
            times=None if times is None else int(str(times)),
            probability=chance,
            seconds=float(str(wish.get("seconds", 5))),
            status=int(str(wish.get("status", 500))),
            problem=str(wish.get("problem", "token_rejected")),
            rng=np.random.default_rng(int(str(wish.get("seed", 0)))),
        )

    def strikes(self, call: Call) -> bool:
        """Whether it is this call's turn; one that strikes is used up by it."""
        if self.times == 0 or self.where not in f"{call.method} {call.path}":
            return False
        if self.probability < 1 and self.rng.random() >= self.probability:
            return False
        self.hits += 1
        if self.times is not None:
            self.times -= 1
        return True

    def told(self) -> Tree:
        return {"name": self.name, "where": self.where, "times": self.times, "hits": self.hits}


class Plan:
    """Every fault that was asked for, in that order."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def strike(self, call: Call) -> dict[str, Fault]:
        """The faults this call meets, by name."""
        return {fault.name: fault for fault in self.faults if fault.strikes(call)}


def instead(met: dict[str, Fault], call: Call) -> Reply | None:
    """The reply of a fault that keeps the call from being done; None where it is done."""
    json_ = call.wants_json
    if "maintenance" in met:
        return Refused(500, 670, "We are performing maintenance. Please try again later.").reply(json_)
    if fault := met.get("error_before"):
        return broken(fault.status)
    if fault := met.get("oauth_problem"):
        return Refused(401, None, OAuthProblem(fault.problem).text).reply(json_)
    if fault := met.get("too_many"):
        return replace(text("Too Many Requests", 429), headers={"Retry-After": f"{fault.seconds:g}"})
    return rate_page() if "rate_page" in met else None


def spoiled(reply: Reply, met: dict[str, Fault], call: Call) -> Reply:
    """The reply as the faults leave it."""
    if fault := met.get("error_after"):
        return broken(fault.status)
    if reply.tree is not None and reply.status == 200:
        tree = reply.tree
        for name, change in _CHANGES.items():
            if name in met:
                tree = change(tree, met[name])
        if tree is not reply.tree:
            reply = replace(written(tree, call.wants_json), headers=reply.headers)
    if "html_200" in met:
        return page("<html><body><h1>We'll be right back</h1><p>Please try again later.</p></body></html>")
    if "bad_json" in met:
        return replace(reply, body=reply.body.rstrip(b"}>") + b",]", kind=reply.kind or JSON)
    return reply


def broken(status: int) -> Reply:
    words = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}.get(status, "Error")
    return page(f"<html><head><title>{status} {words}</title></head><body><h1>{words}</h1></body></html>", status)


def _copy(tree: Tree) -> Tree:
    copied: Tree = json.loads(json.dumps(tree))
    return copied


def _rows(tree: object, change: RowChange) -> object:
    match tree:
        case dict():
            return {
                name: change(inside) if name in ROWS and isinstance(inside, list) else _rows(inside, change)
                for name, inside in tree.items()
            }
        case list():
            return [_rows(one, change) for one in tree]
    return tree


def _duplicated(tree: Tree, fault: Fault) -> Tree:
    return _tree(_rows(tree, lambda rows: [row for row in rows for _ in range(2)]))


def _reordered(tree: Tree, fault: Fault) -> Tree:
    return _tree(_rows(tree, lambda rows: rows[::-1]))


def _tree(found: object) -> Tree:
    assert isinstance(found, dict)
    return found


def _quotes(tree: Tree) -> tuple[Tree, list[Tree]]:
    copied = _copy(tree)
    response = copied.get("QuoteResponse")
    found = response.get("QuoteData", []) if isinstance(response, dict) else []
    return copied, found


def _stale(tree: Tree, fault: Fault) -> Tree:
    copied, quotes = _quotes(tree)
    for quote in quotes:
        quote["dateTimeUTC"] = int(str(quote["dateTimeUTC"])) - int(fault.seconds)
        for inside in quote.values():
            if isinstance(inside, dict) and "timeOfLastTrade" in inside:
                inside["timeOfLastTrade"] -= int(fault.seconds)
    return copied


def _delayed(tree: Tree, fault: Fault) -> Tree:
    copied, quotes = _quotes(tree)
    for quote in quotes:
        quote["quoteStatus"] = "DELAYED"
    return copied


def _not_numbers(tree: Tree, fault: Fault) -> Tree:
    copied, quotes = _quotes(tree)
    for quote in quotes:
        for inside in quote.values():
            if isinstance(inside, dict):
                inside |= {name: math.nan for name in PRICES if name in inside}
    return copied


_CHANGES = {
    "duplicate_rows": _duplicated,
    "reorder_rows": _reordered,
    "stale_quotes": _stale,
    "delayed_quotes": _delayed,
    "nan_quotes": _not_numbers,
}
