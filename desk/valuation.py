"""What the accounts are worth: marked for the circuit breaker with every new price, kept as a curve once a minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from desk.tools import Tools
from desk.world import equity_of
from desk.writing import Writing
from domain.breaker import Breaker

EVERY = timedelta(minutes=1)


class Valuation:
    """Marks each account; what it has to write waits for the transaction it is given."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kept: dict[str, tuple[datetime, Decimal, Decimal]] = {}
        self._breakers: dict[str, Breaker] = {}
        self._saved: dict[str, Breaker] = {}

    def begin(self) -> None:
        """What was known before: breakers, the last points of the curves, and the peaks."""
        for account in self._tools.reader.accounts():
            peak, last = self._tools.reader.peak_equity(account.name), self._tools.reader.last_point(account.name)
            self._tools.peaks[account.name] = max(peak or account.starting_cash, account.starting_cash)
            if last is not None:
                self._kept[account.name] = (last.at, last.cash, last.equity)

    def mark(self) -> None:
        """Every account at the prices of now. An account with a position that has no price is not marked."""
        for account in self._tools.reader.accounts():
            equity = equity_of(self._tools, account.name)
            if equity is None:
                continue
            self._tools.peaks[account.name] = max(self._tools.peaks.get(account.name, equity), equity)
            breaker = self._breaker(account.name)
            self._breakers[account.name] = breaker.mark(equity, self._tools.now())

    def forget(self, account: str) -> None:
        """Its breaker was changed by a command: read it again."""
        self._breakers.pop(account, None)

    @property
    def tripped(self) -> bool:
        """A breaker has latched and the ledger does not know yet."""
        return any(b.latched and not self._known(name).latched for name, b in self._breakers.items())

    def write(self, write: Writing) -> None:
        """Breakers that changed state or day, and the minute's point of each curve that moved."""
        for name, breaker in self._breakers.items():
            known = self._known(name)
            if _worth_keeping(known, breaker):
                write.save_breaker(name, breaker)
                self._saved[name] = breaker
        for account in self._tools.reader.accounts():
            self._point(write, account.name)

    def _point(self, write: Writing, name: str) -> None:
        folded, equity, now = self._tools.reader.account(name), equity_of(self._tools, name), self._tools.now()
        if folded is None or equity is None:
            return
        kept = self._kept.get(name)
        if kept is not None and (now - kept[0] < EVERY or kept[1:] == (folded.cash, equity)):
            return
        write.snapshot_equity(name, folded.cash, equity)
        self._kept[name] = (now, folded.cash, equity)

    def _breaker(self, name: str) -> Breaker:
        limit = self._tools.risk.limits.max_daily_loss_pct
        found = self._breakers.get(name)
        if found is None:
            found = self._tools.reader.breaker(name) or Breaker()
            self._saved[name] = found
        return found.with_limit(limit)

    def _known(self, name: str) -> Breaker:
        return self._saved.get(name) or Breaker()


def _worth_keeping(known: Breaker, now: Breaker) -> bool:
    """Everything but the last equity, which moves with every price; that one is kept once it has moved by a tenth of
    a per cent, so that tomorrow's start is near enough."""
    if replace(known, last_equity=None) != replace(now, last_equity=None):
        return True
    if known.last_equity is None or now.last_equity is None:
        return known.last_equity is not now.last_equity
    return abs(known.last_equity - now.last_equity) * 1000 > known.last_equity
