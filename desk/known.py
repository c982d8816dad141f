"""An account, and somebody who is signed in with it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from desk.authority import LOCAL_OWNER, Role
from domain.errors import AccountError

IDLE_AFTER = timedelta(minutes=15)
ENDS_AFTER = timedelta(hours=12)
_NAME = re.compile(r"[a-z][a-z0-9._@+-]{1,47}")
# Words that stand in the books for the desk's own parts.
_TAKEN = frozenset({LOCAL_OWNER, "engine", "file", "founding", "broker", "desk", "nobody", "console"})


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may come in. `source`: "" for an account of accounts.db, else the file it is written in."""

    name: str
    role: Role
    hash: str = field(repr=False)
    suspended: bool = False
    source: str = ""
    made: datetime | None = None

    @property
    def stamp(self) -> str:
        """Another one after each change of the password, and of no use to guess it by."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that stands. `ref` names it in the books and opens nothing; `idle`: it looks, and trades no more until
    its password is given again; `confirmed`: when a one-time code was last given."""

    ref: str
    name: str
    role: Role
    began: datetime
    seen: datetime
    ends: datetime
    idle: bool
    address: str = ""
    confirmed: datetime | None = None

    @property
    def actor(self) -> str:
        """What a command carries: the engine looks up the rest."""
        return f"{self.name}/{self.ref}"


def check_name(name: str) -> str:
    """The name as it is kept, in lower case; AccountError says how one is written."""
    kept = name.strip().casefold()
    if not _NAME.fullmatch(kept):
        raise AccountError(
            f"a name has 2 to 48 small letters, digits or . _ @ + - and begins with a letter: got {name[:60]!r}"
        )
    if kept in _TAKEN:
        raise AccountError(f"{kept} is a word of the desk itself: choose the person's own name")
    return kept
