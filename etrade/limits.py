"""How often E*TRADE may be asked: so many calls in any second and in any hour, for each of its modules.

The v1 pages publish no figures; these are the v0 ones. A window that slides holds wherever the server's windows
begin. The last calls of the orders module's hour are kept for cancels, and a waiting cancel goes first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from etrade.errors import OverLimit

SECOND_S = 1.05  # calls a second apart here may arrive closer together there
HOUR_S = 3600.0
PATIENCE_S = 10.0  # a longer wait is the caller's to decide about


class Module(StrEnum):
    """E*TRADE counts calls by these."""

    ACCOUNTS = "accounts"
    ORDERS = "orders"
    MARKET = "market"
    ALERTS = "alerts"
    SIGN_IN = "sign-in"


@dataclass(frozen=True, slots=True)
class Limit:
    """Calls in any second, in any hour, and how many of the hour's are kept for cancels."""

    per_second: int
    per_hour: int
    reserve: int = 0


LIMITS: Mapping[Module, Limit] = {
    Module.ACCOUNTS: Limit(2, 7_000),
    Module.ORDERS: Limit(2, 7_000, reserve=200),
    Module.MARKET: Limit(4, 14_000),
    Module.ALERTS: Limit(2, 7_000),
    Module.SIGN_IN: Limit(2, 1_000),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left: calls in this second and this hour; `wait_s` until the next call may go. `refusals` are E*TRADE's
    own answers of "too much" since the start, the last one `refused_ago_s` ago."""

    left_in_second: int
    left_in_hour: int
    per_second: int
    per_hour: int
    wait_s: float
    used_in_hour: int = 0
    refusals: int = 0
    refused_ago_s: float | None = None


@dataclass(slots=True)
class _Bucket:
    limit: Limit
    sent: deque[float] = field(default_factory=deque)
    not_before: float = 0.0
    strikes: int = 0
    refusals: int = 0
    refused: float = 0.0
    urgent: int = 0
    line: asyncio.Lock = field(default_factory=asyncio.Lock)

    def wait_s(self, now: float, *, urgent: bool = False) -> float:
        """Seconds until a call may go, 0 where it may now."""
        while self.sent and self.sent[0] <= now - HOUR_S:
            self.sent.popleft()
        hour = self.limit.per_hour - (0 if urgent else self.limit.reserve)
        waits = [self.not_before - now]
        if len(self.sent) >= self.limit.per_second:
            waits.append(self.sent[-self.limit.per_second] + SECOND_S - now)
        if len(self.sent) >= hour:
            waits.append(self.sent[-hour] + HOUR_S - now)
        return max(0.0, *waits)


class Limits:
    """The call budget of one client, on one event loop. `monotonic` and `sleep` own time."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        limits: Mapping[Module, Limit] = LIMITS,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._monotonic, self._sleep, self._patience_s = monotonic, sleep, patience_s
        self._buckets = {module: _Bucket(limit) for module, limit in limits.items()}

    async def take(self, module: Module, *, urgent: bool = False) -> None:
        """Wait for a call's turn and count it. OverLimit, and nothing counted, where that takes too long."""
        bucket = self._buckets[module]
        if not urgent:
            self._refuse_long_wait(bucket, module, urgent=False)
            async with bucket.line:
                await self._wait(bucket, module, urgent=False)
            return
        bucket.urgent += 1
        try:
            await self._wait(bucket, module, urgent=True)
        finally:
            bucket.urgent -= 1

    def pause(self, module: Module, wait_s: float | None = None) -> float:
        """E*TRADE said that it is too much: no call for `wait_s`, or for 1, 2, 4 … seconds where it named none.
        The seconds until the next call."""
        bucket, now = self._buckets[module], self._monotonic()
        bucket.strikes += 1
        bucket.refusals, bucket.refused = bucket.refusals + 1, now
        wait_s = min(2.0 ** (bucket.strikes - 1) if wait_s is None else max(wait_s, 0.0), HOUR_S)
        bucket.not_before = max(bucket.not_before, now + wait_s)
        return bucket.not_before - now

    def went_well(self, module: Module) -> None:
        """An answer came: the next pause begins at one second again."""
        self._buckets[module].strikes = 0

    def budget(self) -> dict[Module, Budget]:
        now = self._monotonic()
        return {module: self._left(bucket, now) for module, bucket in self._buckets.items()}

    def _left(self, bucket: _Bucket, now: float) -> Budget:
        wait_s, limit = bucket.wait_s(now), bucket.limit
        in_second = sum(1 for sent in list(bucket.sent)[-limit.per_second :] if sent > now - SECOND_S)
        return Budget(
            limit.per_second - in_second,
            max(limit.per_hour - limit.reserve - len(bucket.sent), 0),
            limit.per_second,
            limit.per_hour,
            wait_s,
            len(bucket.sent),
            bucket.refusals,
            now - bucket.refused if bucket.refusals else None,
        )

    async def _wait(self, bucket: _Bucket, module: Module, *, urgent: bool) -> None:
        while True:
            wait_s = self._refuse_long_wait(bucket, module, urgent=urgent)
            if wait_s <= 0 and (urgent or not bucket.urgent):
                bucket.sent.append(self._monotonic())
                return
            await self._sleep(max(wait_s, 0.005))

    def _refuse_long_wait(self, bucket: _Bucket, module: Module, *, urgent: bool) -> float:
        wait_s = bucket.wait_s(self._monotonic(), urgent=urgent)
        if wait_s > self._patience_s:
            raise OverLimit(f"E*TRADE's limit of {module} calls is used up: the next one in {wait_s:,.0f} s", wait_s)
        return wait_s
