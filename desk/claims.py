"""What waiting commands are about to do: the shares they will close, and since when each is being done."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from desk.tools import Key
from domain.errors import DeskError, OrderRefused

ZERO = Decimal(0)
WAITS_AT_MOST = timedelta(seconds=30)


class Wait(DeskError):
    """It cannot be done yet: the command stays queued and is looked at again next turn."""


class Claims:
    """Kept in memory only: after a restart a waiting command is begun anew."""

    def __init__(self) -> None:
        self._shares: dict[str, tuple[Key, Decimal]] = {}
        self._began: dict[str, datetime] = {}
        self.flattening: dict[Key, Decimal] = {}

    def begin(self, command: str, now: datetime) -> None:
        """The command is being done from now on, unless it is already."""
        self._began.setdefault(command, now)

    def begun(self, command: str) -> bool:
        return command in self._began

    def take(self, command: str, key: Key, quantity: Decimal = ZERO) -> None:
        """It is about to close this much of the position (or, with zero, merely waits)."""
        self._shares[command] = (key, quantity)

    def has(self, command: str) -> bool:
        return command in self._shares

    def of(self, command: str) -> Decimal:
        return self._shares[command][1] if command in self._shares else ZERO

    def drop(self, command: str) -> None:
        """It is answered."""
        self._shares.pop(command, None)
        self._began.pop(command, None)

    def all(self) -> dict[Key, Decimal]:
        """What is about to be closed of each position."""
        found = dict(self.flattening)
        for key, quantity in self._shares.values():
            found[key] = found.get(key, ZERO) + quantity
        return found

    def not_too_long(self, command: str, now: datetime, said: str) -> None:
        """OrderRefused, with `said`, where it has waited for too long."""
        if now - self._began[command] > WAITS_AT_MOST:
            raise OrderRefused(said)
