"""Commands: what a person or a program asks the engine to do. Any door may append one; only the engine acts on it.

`key` makes a wish unique: it is made when the wish is first shown (at preview), so that a double click, a reload or a
second tab appends the same key and nothing happens twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

MOST_BYTES = 16_384


class Kind(StrEnum):
    """What can be asked."""

    PREVIEW = "preview"
    PLACE = "place"
    CANCEL = "cancel"
    CANCEL_ALL = "cancel all"
    CHANGE = "change"
    CLOSE = "close"
    PROTECT = "protect"
    KILL = "kill"
    RE_ARM = "re-arm"
    RESET_BREAKER = "reset breaker"
    SET_LIMIT = "set limit"
    SIGN_IN = "sign in"
    PICK_ACCOUNT = "pick account"
    ARM = "arm"
    DISARM = "disarm"
    ACCEPT = "accept difference"
    SETTLE = "settle order"
    ADOPT = "adopt strategy"
    RETIRE = "retire strategy"
    PROMOTE = "promote strategy"
    DEMOTE = "demote strategy"
    PAUSE_STRATEGY = "pause strategy"
    RESUME_STRATEGY = "resume strategy"


class CommandState(StrEnum):
    """QUEUED until the engine has done it or refused it, each once and for good."""

    QUEUED = "queued"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Command:
    """`payload` holds JSON values only, money as text. `actor` is who asks; whether they may is the engine's to say."""

    key: str
    kind: Kind
    actor: str
    payload: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 8 <= len(self.key) <= 80 or not self.key.isascii() or not self.key.isprintable():
            raise ValueError(f"a command's key must be 8 to 80 printable ASCII characters: got {self.key!r}")
        if not self.actor:
            raise ValueError(f"{self.kind} {self.key}: a command must name its actor")
        if len(self.body) > MOST_BYTES:
            raise ValueError(
                f"{self.kind} {self.key}: a command holds at most {MOST_BYTES} bytes, got {len(self.body)}"
            )

    @property
    def body(self) -> str:
        """The payload as canonical JSON; ValueError for what JSON cannot say (NaN, infinity, objects)."""
        try:
            return json.dumps(self.payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"{self.kind} {self.key}: {error}") from None

    @property
    def fingerprint(self) -> str:
        """What it asks, hashed: the same key with another fingerprint is an error, never a second wish."""
        return hashlib.sha256(f"{self.kind}\x1f{self.actor}\x1f{self.body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command: its state, a sentence for the person, and details as JSON values."""

    state: CommandState
    said: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None
