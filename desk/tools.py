"""What every part of the engine works with: the ledger and the right to write it, the broker, the market, the clock."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from brokers.base import Broker, BrokerAccount
from desk.authority import Authority
from desk.facts import Facts
from desk.ledger import Ledger
from desk.place import Place
from desk.reader import Reader
from desk.schema import EPOCH
from desk.session import Session
from desk.writing import Writing
from domain.clock import Clock
from domain.limits import Limits
from domain.positions import Position
from risk_manager import RiskManager

Key = tuple[str, str]  # account and symbol


def random_id() -> str:
    return secrets.token_hex(8)


@dataclass(slots=True)
class Tools:
    """One engine's, for as long as it holds the lease at `epoch`.

    `problems`  sentences a person should read, by what they are about
    `frozen`    symbols nobody may trade until a person has looked; `blocked`: accounts that may open nothing until then
    `peaks`     the highest equity of each account
    `heard`     the broker's fills that are in the ledger; `heard_until`: up to when it has told us everything
    `mapped`    the broker's orders that are in the ledger, and those of others
    `compared`  cash and shares agreed since the start; before that nothing new is bought. `differing`: what does not
    `deaf`      the broker does not tell about orders just now; `asked`: when it was last asked
    `accounts`  what it last said of its accounts, and when
    `suspect`   symbols that may have been split or renamed: nothing is done in them before the next comparison
    `unseen`    looks at its list that did not show an order; `overdue`: exits not seen for so long that another may go
    `waits`     why this desk is not ready, in words; `look_again`: a person decided, compare now
    `session`   the broker's sign-in; None where prices and broker need none
    """

    place: Place
    clock: Clock
    ledger: Ledger
    epoch: int
    reader: Reader
    broker: Broker
    facts: Facts
    ids: Callable[[], str] = random_id
    ready: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    peaks: dict[str, Decimal] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    heard_until: datetime = EPOCH
    mapped: set[str] = field(default_factory=set)
    compared: bool = False
    differing: list[dict[str, str]] = field(default_factory=list)
    deaf: bool = False
    asked: datetime = EPOCH
    accounts: list[BrokerAccount] = field(default_factory=list)
    accounts_at: datetime = EPOCH
    suspect: set[str] = field(default_factory=set)
    unseen: dict[str, Any] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)
    waits: str = ""
    look_again: bool = False
    session: Session | None = None
    authority: Authority = field(default_factory=Authority)

    def now(self) -> datetime:
        return self.clock.now()

    @contextmanager
    def write(self) -> Iterator[Writing]:
        """One transaction of ours; Fenced once the lease went to another engine."""
        with self.ledger.write(self.epoch) as write:
            yield write

    @property
    def risk(self) -> RiskManager:
        """The gates under the limits as they are now; limits that cannot be read are a ValueError."""
        return RiskManager(Limits.from_dict(self.reader.limits()))

    def ours(self, position: Position | None) -> Decimal:
        """How much of it this desk may protect and close: all of it at a broker that is ours alone."""
        if position is None:
            return Decimal(0)
        return position.ours if self.broker.polled else position.quantity

    def signed_out(self, said: str) -> None:
        """The broker wants a person: nothing is sent until it lets us in and everything was looked at again."""
        self.ready = self.compared = False
        self.waits = said

    def doubt(self, symbol: str) -> None:
        """Compare before anything else is done in it."""
        self.suspect.add(symbol)
        self.look_again = True

    def note(self, about: str, said: str) -> None:
        """A problem a person should know of, until it is cleared."""
        self.problems[about] = said

    def clear(self, about: str) -> None:
        self.problems.pop(about, None)

    def keep_only(self, kind: str, still: Iterable[str]) -> None:
        """Of the problems whose name begins with `kind`, only these still stand."""
        kept = set(still)
        for about in [a for a in self.problems if a.startswith(f"{kind} ") and a not in kept]:
            del self.problems[about]
