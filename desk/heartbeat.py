"""The engine's signs of life: what it is doing, what a person should know, and the equity of each account."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from desk import arming
from desk.resolving import uncertain
from desk.supervisor import Supervisor
from desk.tools import Tools
from desk.valuation import Valuation
from domain.calendars import NEW_YORK, Phase
from domain.instruments import instrument

BEAT_EVERY = timedelta(seconds=1)


class Heartbeat:
    """Writes them once a second. `name` is the engine's, `where` it runs, `needed` the symbols it cannot do without."""

    def __init__(
        self,
        tools: Tools,
        supervisor: Supervisor,
        valuation: Valuation,
        *,
        name: str,
        where: str,
        poll_s: float,
        needed: Callable[[], set[str]],
    ) -> None:
        self._tools, self._supervisor, self._valuation = tools, supervisor, valuation
        self._name, self._where, self._poll_s, self._needed = name, where, poll_s, needed
        self._started = tools.now()
        self._last = datetime.min.replace(tzinfo=NEW_YORK)

    def mark(self, state: str) -> None:
        """Signs of life, the curve and the breakers, once a second; a breaker that trips at once."""
        if self.due or self._valuation.tripped:
            self.beat(state)

    @property
    def due(self) -> bool:
        return due(self._last, self._tools.now(), BEAT_EVERY)

    def beat(self, state: str) -> None:
        """Write them down now."""
        self._last = self._tools.now()
        said = "frozen" if state == "ready" and self._tools.frozen else state
        with self._tools.write() as write:
            if self._tools.ready:
                self._valuation.write(write)
            write.beat(self._name, said, started=self._started, details=self._details())

    def _details(self) -> dict[str, Any]:
        tools, naked = self._tools, self._supervisor.naked.values()
        return {
            "where": self._where,
            "pid": os.getpid(),
            "problems": list(tools.problems.values())[:20],
            "unprotected": [
                {"account": n.account, "symbol": n.symbol, "quantity": str(n.quantity), "since": n.since.isoformat()}
                for n in naked
            ],
            **self._outside(),
            "longest_unprotected_s": round(self._supervisor.longest_naked.total_seconds(), 3),
            "waiting_flatten": any(about.startswith("flatten") for about in tools.problems),
            **({"etrade": tools.session.status()} if tools.session is not None else {}),
            "flatten_estimate": flatten_words(self._needed(), tools.now(), self._poll_s),
        }

    def _outside(self) -> dict[str, Any]:
        """What a broker of the real world brings with it."""
        tools = self._tools
        if not tools.place.needs_arming:
            return {}
        return {
            "arming": arming.told(tools),
            "uncertain": uncertain(tools),
            "differences": tools.differing,
            "outside": [
                {"account": info.name, "symbol": symbol, "quantity": f"{p.outside.normalize():f}"}
                for info in tools.reader.accounts()
                for symbol, p in sorted(tools.reader.positions(info.name).items())
                if p.outside
            ],
        }


def due(last: datetime, now: datetime, every: timedelta) -> bool:
    """Whether `every` has gone by; a clock that was set back is no reason to wait until it has caught up."""
    return not timedelta() <= now - last < every


def flatten_words(symbols: Iterable[str], now: datetime, poll_s: float) -> str:
    """How long closing every position would take."""
    held = list(symbols)
    shut = [s for s in held if instrument(s).calendar.phase(now) is not Phase.OPEN]
    if not held:
        return "at once: nothing is held"
    opens = [at for s in shut if (at := instrument(s).calendar.next_open(now))]
    if shut and not opens:
        return "once the market opens"
    if shut:
        return f"at the open, {max(opens).astimezone(NEW_YORK):%a %d %b %H:%M} New York"
    return f"about {max(2, round(2 * poll_s + 0.5 * len(held)))} s in a liquid market"
