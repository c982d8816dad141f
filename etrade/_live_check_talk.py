"""What the live check says, what it keeps in its file, and what follows for the settings."""

from __future__ import annotations

import asyncio
import json
import math
import textwrap
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from domain import clock as clocks
from domain.clock import Clock
from domain.errors import DeskError

WIDTH = 100
LEAST_LAG_S = 10
ON, SKIP, STOP = "", "s", "q"


class Stopped(Exception):
    """The person wants to stop here."""


class Halted(DeskError):
    """The check cannot go on from here; what it has found stands."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How time passes: seconds that only grow, and how to let some go by."""

    monotonic: Callable[[], float] = clocks.monotonic
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep


class Talk:
    """The person at the keyboard. Ctrl+C and a closed keyboard mean stop."""

    def __init__(self, ask: Callable[[str], str], tell: Callable[[str], object]) -> None:
        self._ask, self._tell = ask, tell
        self.asking = False

    def tell(self, words: str = "") -> None:
        for line in words.split("\n"):
            self._tell(_filled(line, "  "))

    def ask(self, words: str) -> str:
        self.asking = True
        try:
            return self._ask(words).strip()
        except (KeyboardInterrupt, EOFError):
            raise Stopped from None
        finally:
            self.asking = False

    def wanted(self, title: str, words: str) -> bool:
        """Whether the step is to be done; False where it is skipped. Stopped where the person has enough."""
        self.tell(f"\n{title}")
        self.tell(words)
        while True:
            answer = self.ask("  Enter: do it · s: skip it · q: stop here > ").lower()
            if answer == STOP:
                raise Stopped
            if answer in (ON, SKIP):
                return answer == ON


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: `found` for people, `value` for programs."""

    step: str
    name: str
    found: str
    value: dict[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class Advice:
    """A setting and why; `value` None where it should stay as it is."""

    setting: str
    value: int | None
    why: str


@dataclass(slots=True)
class Findings:
    """All answers so far; each is in the file before the next step begins."""

    path: Path
    environment: str
    account: str
    symbol: str
    clock: Clock
    tell: Callable[[str], object]
    begun: datetime
    all: list[Finding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    finished: bool = False

    def note(self, step: str, name: str, found: str, **value: Any) -> None:
        self.all.append(Finding(step, name, found, value, self.clock.now().isoformat()))
        self.tell(f"  → {name}: {found}")
        self.save()

    def value(self, name: str) -> dict[str, Any] | None:
        return next((finding.value for finding in reversed(self.all) if finding.name == name), None)

    def save(self) -> None:
        """OSError where the folder takes no file: the check does not go on without its notes."""
        told = {
            "what": "live check of E*TRADE, see docs/live-checklist.md",
            "program": version(),
            "environment": self.environment,
            "account": self.account,
            "symbol": self.symbol,
            "begun": self.begun.isoformat(),
            "written": self.clock.now().isoformat(),
            "finished": self.finished,
            "findings": [asdict(finding) for finding in self.all],
            "advice": [asdict(one) for one in advice(self)],
            "left": self.left,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(self.path)

    def table(self) -> str:
        wide = max((len(finding.name) for finding in self.all), default=0)
        lines = []
        for finding in self.all:
            head = f"{finding.step:>2}  {finding.name:<{wide}}  "
            lines.append(_filled(head + finding.found, " " * len(head)))
        return "\n".join(lines)


def advice(findings: Findings) -> list[Advice]:
    """What follows for the settings: three times the lag that was measured and five seconds, as one look is no law."""
    lag = findings.value("list lag")
    if lag is None:
        why = "the list's lag was not measured: leave it as it is"
        return [Advice("ETRADE_LIST_LAG_S", None, why)]
    if (seconds := lag.get("seconds")) is None:
        waited = lag["not_within_s"]
        why = f"the order was not in the list after {waited:g} s: this is the least; run the check again"
        return [Advice("ETRADE_LIST_LAG_S", _lag_setting(waited), why)]
    why = f"an order was in the list after {seconds:.1f} s: three times that and 5 s, at least {LEAST_LAG_S}"
    return [Advice("ETRADE_LIST_LAG_S", _lag_setting(seconds), why)]


def _filled(line: str, indent: str) -> str:
    """Broken between words only: a link must stay whole."""
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _lag_setting(seconds: float) -> int:
    return max(LEAST_LAG_S, math.ceil(round(seconds * 3 + 5, 6)))


def version() -> str:
    """The program's own, from pyproject.toml; 'unknown' where that was not copied along."""
    try:
        told = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
        return str(told["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"
