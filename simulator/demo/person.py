"""What the demo's person does by hand: the wishes of a hand at the ticket, through the same inbox and gates."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from desk import adoption_line
from desk.adoptions import adoptions
from desk.authority import LOCAL_OWNER
from desk.inbox import Inbox
from desk.live_book import LiveBook
from desk.reader import Reader
from domain.clock import Clock, monotonic
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import DeskError
from domain.instruments import instrument
from simulator.demo.script import PATHS, moment

ACCOUNT = "main"
ANSWER_WITHIN_S = 20.0
AGAIN_S = 0.7
NEAR = Decimal("0.92")  # how much of the daily-loss limit the fall of SPY shall use up
log = logging.getLogger("demo")


@dataclass(slots=True)
class Person:
    """Somebody at the desk. `told` is called with each thing done, in words; nothing that fails stops the day."""

    inbox: Inbox
    reader: Reader
    book: LiveBook
    clock: Clock
    told: Callable[[str], None]
    stopped: Callable[[], bool] = lambda: False
    done: list[str] = field(default_factory=list)

    def ask(self, kind: Kind, **payload: Any) -> Answer | None:
        """Append it and wait for the answer; None where none came in time."""
        key = f"demo-{kind.name.lower()}-{uuid.uuid4().hex}"
        return self._asked(Command(key, kind, LOCAL_OWNER, payload))

    def _asked(self, command: Command) -> Answer | None:
        self.inbox.append(command)
        until = monotonic() + ANSWER_WITHIN_S
        while (answer := self.inbox.answer(command.key)) is None and monotonic() < until and not self.stopped():
            time.sleep(0.02)
        return answer

    def says(self, words: str, answer: Answer | None) -> bool:
        """Keep and tell what became of a wish; whether it was done."""
        fine = answer is not None and answer.state is CommandState.DONE
        said = "no answer" if answer is None else "" if fine else answer.said
        line = f"{words}{'' if fine else f': refused. {said}'}"
        self.done.append(line)
        self.told(line)
        return fine

    # The day

    def settles_in(self) -> None:
        """Limits of a demo: a price may be as old as a turn of the engine takes on this clock."""
        for name, value in (("max_quote_age_s", 240), ("max_orders_per_minute", 30), ("max_daily_loss_pct", 3.0)):
            self.says(f"Limit {name} is {value}", self.ask(Kind.SET_LIMIT, name=name, value=value))

    def adopts(self) -> None:
        """Three strategies, on paper."""
        for name, words in (
            ("trend_following", "--symbols AAPL --interval 5m --stop 2.5atr --cash 12000"),
            ("sma_crossover", "--symbols GOOG AMZN --interval 5m --param fast=3 slow=9 --stop 3atr --cash 12000"),
            ("mean_reversion", "--symbols NVDA --interval 5m --stop 3atr --cash 8000"),
        ):
            answer = self.ask(Kind.ADOPT, **adoption_line.wish(name, words.split()))
            self.says(f"Adopts {name} ({words})", answer)

    def buys(self, symbol: str, *, tries: int = 5, **wish: Any) -> bool:
        """As `_buys`, and once more after a moment where it is refused: on a machine that has much to do, a price of
        some seconds ago is minutes old."""
        return any(self._buys(symbol, **wish) or self._waits(attempt, tries) for attempt in range(tries))

    def _waits(self, attempt: int, tries: int) -> bool:
        if attempt < tries - 1 and not self.stopped():
            time.sleep(AGAIN_S)
        return False

    def _buys(self, symbol: str, *, stop: float | None = None, target: float | None = None, **size: str) -> bool:
        """Preview and place, as at the ticket; `stop` and `target` as multiples of the newest price."""
        last = self.last(symbol)
        if last is None:
            return self.says(f"Buys {symbol}: no price is known", None)
        what = instrument(symbol)
        exits = {
            name: format(what.round_price(last * Decimal(str(part))), "f")
            for name, part in (("stop_loss", stop), ("target", target))
            if part is not None
        }
        ticket = {"account": ACCOUNT, "symbol": symbol, "side": "buy", "type": "market", **size, **exits}
        ticket |= {"time_in_force": "day", "session": "regular"}
        preview = Command(f"demo-preview-{uuid.uuid4().hex}", Kind.PREVIEW, LOCAL_OWNER, ticket)
        previewed = self._asked(preview)
        if previewed is None or previewed.state is not CommandState.DONE:
            return self.says(f"Previews {symbol}", previewed)
        told = previewed.details
        wish = {"preview": preview.key, "request": told["request"]}
        answer = self._asked(Command(told["token"], Kind.PLACE, LOCAL_OWNER, wish))
        return self.says(f"Buys {told['request']['quantity']} {symbol} near {last}", answer)

    def guards(self) -> None:
        """The daily-loss limit at which the fall that comes uses up most of it: the day's loss so far, and what is held
        of SPY down to the low of the script."""
        until = monotonic() + ANSWER_WITHIN_S
        while "SPY" not in self.reader.positions(ACCOUNT) and monotonic() < until and not self.stopped():
            time.sleep(0.05)  # it was bought a moment ago
        held, last = self.reader.positions(ACCOUNT).get("SPY"), self.last("SPY")
        breaker, point = self.reader.breaker(ACCOUNT), self.reader.last_point(ACCOUNT)
        if held is None or last is None or breaker is None or breaker.start_equity is None or point is None:
            self.told("SPY is not held, so the daily-loss limit stays as it is")
            return
        points = dict(PATHS["SPY"].points)
        falls = last * Decimal(str(1 - points["13:38"] / points["12:40"])) * held.quantity
        loss = breaker.start_equity - point.equity + falls
        limit = max(Decimal("0.1"), round(100 * loss / breaker.start_equity / NEAR, 2))
        answer = self.ask(Kind.SET_LIMIT, name="max_daily_loss_pct", value=float(limit))
        self.says(f"Limits the day's loss to {limit} %", answer)

    def closes(self) -> None:
        """Takes the strategies off and closes all that is held."""
        for one in adoptions(self.reader):
            self.says(f"Retires {one.label}", self.ask(Kind.RETIRE, id=one.id))
        for symbol in sorted(self.reader.positions(ACCOUNT)):
            answer = self.ask(Kind.CLOSE, account=ACCOUNT, symbol=symbol, percent="100", type="market")
            self.says(f"Closes {symbol}", answer)

    def last(self, symbol: str) -> Decimal | None:
        """The newest price the engine has of it, else what a preview says."""
        quote = self.book.quotes().get(symbol)
        if quote is not None:
            return quote.last
        asked = {"account": ACCOUNT, "symbol": symbol, "side": "buy", "type": "market", "quantity": "1"}
        answer = self.ask(Kind.PREVIEW, **asked, time_in_force="day", session="regular")
        found = (answer.details.get("quote") or {}) if answer is not None else {}
        return Decimal(found["last"]) if found.get("last") else None


def plan(person: Person) -> list[tuple[datetime, Callable[[], Any]]]:
    """What is done when."""
    return [
        (moment("09:45"), lambda: person.buys("MSFT", stop=0.992, target=1.02, quantity="35")),
        (moment("10:31"), lambda: person.buys("TSLA", stop=0.9925, target=1.013, risk_pct="0.1")),
        (moment("11:20"), lambda: person.buys("NVDA", tries=1, stop=0.98, quantity="20")),
        (moment("12:44"), lambda: person.buys("SPY", stop=0.96, dollars="18000")),
        (moment("12:48"), person.guards),
        (moment("15:40"), person.closes),
        (moment("15:52"), person.closes),
    ]


def live(person: Person, stopped: Callable[[], bool]) -> None:
    """The whole day, each thing at its time; what fails is said, and the day goes on."""
    for at, does in plan(person):
        while person.clock.now() < at:
            if stopped():
                return
            time.sleep(0.05)
        try:
            does()
        except DeskError as error:
            person.told(f"{error}")
            log.warning("%s", error)
