"""Where ledger and broker do not agree, in numbers and in words a person can act on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal

from brokers.base import BrokerAccount
from desk.tools import Tools

ZERO = Decimal(0)
MOST_PARTS = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """`about` a symbol, or `cash`; `here` what the ledger has, `there` what the broker says; `hint` what it looks
    like."""

    account: str
    about: str
    here: str
    there: str
    said: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def differences(tools: Tools, at_broker: BrokerAccount) -> list[Difference]:
    """Cash to the cent and every symbol to the share."""
    folded = tools.reader.account(at_broker.name)
    if folded is None:
        return []
    ours = {s: p.quantity for s, p in folded.positions.items() if p.quantity}
    apart = {
        symbol: (ours.get(symbol, ZERO), at_broker.positions.get(symbol, ZERO))
        for symbol in sorted({*ours, *at_broker.positions})
    }
    apart = {symbol: pair for symbol, pair in apart.items() if pair[0] != pair[1]}
    found = []
    for symbol, (here, there) in apart.items():
        said = f"{symbol} in {at_broker.name}: the ledger has {_plain(here)}, the broker {_plain(there)}."
        said += " Nothing is traded in it until a person has looked."
        hint = _hint(symbol, here, there, apart)
        found.append(Difference(at_broker.name, symbol, _plain(here), _plain(there), said, hint))
    here, there = round(folded.cash, 2), round(at_broker.cash, 2)
    if here != there:
        said = f"Cash of {at_broker.name}: the ledger has {here}, the broker {there}."
        said += " Entries wait until a person has looked."
        found.append(Difference(at_broker.name, "cash", f"{here:f}", f"{there:f}", said))
    return found


def _hint(symbol: str, here: Decimal, there: Decimal, apart: dict[str, tuple[Decimal, Decimal]]) -> str:
    if here and there and (parts := split_of(there / here)):
        return f"looks like a {parts[0]}-for-{parts[1]} split: check its stop at the broker"
    if here and not there:
        twins = [other for other, (a, b) in apart.items() if other != symbol and not a and b == here]
        return f"looks like {symbol} is called {twins[0]} now" if twins else "sold or moved outside this desk"
    if there and not here:
        twins = [other for other, (a, b) in apart.items() if other != symbol and not b and a == there]
        return f"looks like it was called {twins[0]} before" if twins else "bought or moved outside this desk"
    return "traded outside this desk, or a trade it was not told of"


def split_of(ratio: Decimal) -> tuple[int, int] | None:
    """New shares for old ones, where it is a ratio companies choose: 2-for-1, 3-for-2, 1-for-8."""
    for old in (1, 2, 3, 4):
        if ratio > 1 and (ratio * old) % 1 == 0 and ratio * old <= MOST_PARTS:
            return int(ratio * old), old
    if 0 < ratio < 1 and (parts := round(1 / ratio)) <= MOST_PARTS and abs(1 / ratio - parts) < Decimal("0.05"):
        return 1, parts
    return None


def _plain(quantity: Decimal) -> str:
    return f"{quantity.normalize():f}"
