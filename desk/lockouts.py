"""Wrong passwords, counted over restarts: five from one place for one name, then each further one waits longer.

The rule: an attempt is counted before the password is looked at, so that many at once are no way around.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_network

import sqlalchemy as sa

from desk.account_tables import wrongs
from domain.errors import LockedOut

FIRST_S, MOST_S = 60.0, 3600.0
FORGOTTEN_AFTER_S = 86_400.0
TRIES, TRIES_A_NAME, TRIES_AN_ADDRESS = 5, 25, 20

Keys = Mapping[str, int]  # what is counted, and how many wrong ones it stands


def keys_of(name: str, address: str, what: str = "password") -> dict[str, int]:
    """One name from one address, that name from anywhere, that address for any name. The wider counts stand more, so
    that a neighbour cannot lock the owner out with five keystrokes. A whole IPv6 network is one address: whoever has
    one has them all."""
    name, address = name.replace("|", " "), _place(address)
    return {
        f"{what}|{name}|{address}": TRIES,
        f"{what}|{name}": TRIES_A_NAME,
        f"{what}||{address}": TRIES_AN_ADDRESS,
    }


def count(db: sa.Connection, keys: Keys, now: float) -> None:
    """Count an attempt as wrong until `forgive` says otherwise. LockedOut, and nothing counted, while one is locked."""
    db.execute(sa.delete(wrongs).where(wrongs.c.last < now - FORGOTTEN_AFTER_S, wrongs.c.until < now))
    found = _found(db, keys)
    until = max((row.until for row in found.values()), default=0.0)
    if until > now:
        raise LockedOut(datetime.fromtimestamp(until, UTC))
    for key, most in keys.items():
        so_far = found[_hidden(key)].tries + 1 if _hidden(key) in found else 1
        _put(db, key, so_far, now, now + _wait(so_far - most) if so_far >= most else 0.0)


def forgive(db: sa.Connection, keys: Keys, now: float) -> None:
    """The attempt was right after all: the name starts anew. The address takes back this one only: an account of one's
    own is no way to go on guessing at others."""
    for key, most in keys.items():
        row = _found(db, [key]).get(_hidden(key))
        left = row.tries - 1 if row is not None and "||" in key else 0
        db.execute(sa.delete(wrongs).where(wrongs.c.key == _hidden(key)))
        if left > 0:
            _put(db, key, left, now, row.until if row is not None and left >= most else 0.0)


def told_of(name: str, address: str) -> str:
    """What stands for the line that tells of a lock."""
    return f"told|{name}|{_place(address)}"


def known(db: sa.Connection, key: str, until: float) -> bool:
    """Whether the lock that ends then was told of."""
    return any(row.until == until for row in _found(db, [key]).values())


def know(db: sa.Connection, key: str, until: float, now: float) -> None:
    """It was."""
    _put(db, key, 0, now, until)


def unlock(db: sa.Connection) -> None:
    """Forget every wrong attempt."""
    db.execute(sa.delete(wrongs))


def _place(address: str) -> str:
    """The address, or the network it was chosen from at will."""
    try:
        found = IPv6Address(address)
    except ValueError:
        return address.replace("|", " ")
    return str(found.ipv4_mapped or ip_network((int(found), 64), strict=False))


def _wait(beyond: int) -> float:
    return float(min(FIRST_S * 2 ** min(beyond, 10), MOST_S))


def _found(db: sa.Connection, keys: Keys | list[str]) -> dict[str, sa.Row[tuple[str, int, float, float]]]:
    rows = db.execute(sa.select(wrongs).where(wrongs.c.key.in_([_hidden(key) for key in keys])))
    return {row.key: row for row in rows}


def _put(db: sa.Connection, key: str, so_far: int, now: float, until: float) -> None:
    db.execute(sa.delete(wrongs).where(wrongs.c.key == _hidden(key)))
    db.execute(sa.insert(wrongs).values(key=_hidden(key), tries=so_far, last=now, until=until))


def _hidden(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
