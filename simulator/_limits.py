"""Calls counted by module, and refused beyond what E*TRADE allows in a second and an hour. By the real clock."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.clock import Clock
from simulator._wire import Refused, Reply, page

WORDS = "Number of requests exceeded the rate limit set"
LIMITS = {"accounts": (2, 7_000), "market": (4, 14_000), "orders": (2, 7_000), "alerts": (2, 7_000)}
# A caller that keeps to its pace exactly still arrives a little early now and then.
SECOND = timedelta(seconds=0.95)


@dataclass(slots=True)
class Limits:
    """`enforced` off: everything is counted, nothing refused. `as_page`: the refusal is an HTML page, else a tree."""

    clock: Clock
    limits: dict[str, tuple[int, int]] = field(default_factory=lambda: dict(LIMITS))
    enforced: bool = True
    as_page: bool = True
    calls: Counter[str] = field(default_factory=Counter)
    over: Counter[str] = field(default_factory=Counter)
    busiest: Counter[str] = field(default_factory=Counter)
    _recent: dict[str, deque[datetime]] = field(default_factory=dict)
    _hour: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def count(self, module: str) -> bool:
        """Whether this call is one too many. A refused call counts for nothing later."""
        now, (per_second, per_hour) = self.clock.now(), self.limits[module]
        self.calls[module] += 1
        recent = self._recent.setdefault(module, deque())
        while recent and now - recent[0] >= SECOND:
            recent.popleft()
        hour = now.replace(minute=0, second=0, microsecond=0)
        began, many = self._hour.get(module, (hour, 0))
        many = many if began == hour else 0
        self.busiest[module] = max(self.busiest[module], len(recent) + 1)
        if len(recent) >= per_second or many >= per_hour:
            self.over[module] += 1
            return self.enforced
        recent.append(now)
        self._hour[module] = (hour, many + 1)
        return False

    def left(self) -> dict[str, int]:
        """Calls that this hour still allows, by module."""
        hour = self.clock.now().replace(minute=0, second=0, microsecond=0)
        used = {module: many for module, (began, many) in self._hour.items() if began == hour}
        return {module: per_hour - used.get(module, 0) for module, (_, per_hour) in self.limits.items()}

    def refusal(self, as_json: bool) -> Reply:
        return rate_page() if self.as_page else Refused(400, None, WORDS).reply(as_json)

    def clear(self) -> None:
        for counted in (self.calls, self.over, self.busiest):
            counted.clear()
        self._recent.clear()
        self._hour.clear()


def rate_page() -> Reply:
    return page(f"<html><head><title>Error</title></head><body><h1>Bad Request</h1><p>{WORDS}</p></body></html>", 400)


def module_of(route: list[str]) -> str:
    """Which budget a route below /v1 belongs to."""
    match route:
        case ["accounts", _, "orders", *_]:
            return "orders"
        case ["accounts", *_]:
            return "accounts"
        case ["user", *_]:
            return "alerts"
    return "market"
