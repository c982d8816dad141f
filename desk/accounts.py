"""Who may come in, who is in, and who was turned away.

    accounts = Accounts("sqlite:///data/accounts.db")
    secret = accounts.sign_in("ada", password, address)    # for the cookie, and nowhere else
    accounts.who(secret)                                   # SignedIn, or None once that sign-in is over

    python -m desk.accounts owner     (or `make owner`)    --help tells the rest

The rule: a sign-in is a row here. Revoked, it is over at the next question, whatever a browser still holds. Looking is
no activity: only `active` is, and an idle sign-in looks on and trades no more until the password is given again.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from desk import account_events, lockouts
from desk.account_tables import accounts as _accounts
from desk.account_tables import events, metadata, sign_ins
from desk.authority import NOW, Role
from desk.credentials import WHERE, Credentials
from desk.database import Database
from desk.known import ENDS_AFTER, IDLE_AFTER, Account, SignedIn, check_name
from desk.one_time import Enrolment, KeySource, OneTime
from desk.passwords import Passwords, cost_of
from domain.clock import Clock, SystemClock
from domain.errors import AccountError, LedgerUnusable, LockedOut, WrongSignIn
from etrade.vault import best_key

__all__ = ["Account", "Accounts", "Event", "Role", "SignedIn", "main"]

CONFIRMED_FOR = timedelta(minutes=2)
KEPT_FOR = timedelta(days=90)
DOES_NOT_FIT = "Name or password do not fit."
CODE_DOES_NOT_FIT = "This code does not fit, or was used before. Wait for the next one."
UNKNOWN = "(unknown)"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of what happened to accounts and sign-ins."""

    at: datetime
    event: str
    name: str
    by: str
    details: str


class Accounts:
    """One SQLite file and, beside it, `secrets.toml`; safe to use from many threads and processes. A name in both is
    the one of the database."""

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        credentials: Path = WHERE,
        passwords: Passwords | None = None,
        key_source: KeySource = best_key,
    ) -> None:
        if not url.startswith("sqlite:///"):
            raise LedgerUnusable(f"accounts live in an SQLite file (sqlite:///data/accounts.db): got {url}")
        self._clock, self._database = clock or SystemClock(), Database(url)
        self._looking = Database(url, read_only=True)  # who merely looks waits for no writer, nor does the engine
        self._passwords = passwords or Passwords()
        self._file = Credentials(credentials, self._passwords.least_cost)
        self._codes = OneTime(Path(url.removeprefix("sqlite:///")).with_suffix(""), key_source)
        self._database.create()
        with self._write() as db:
            metadata.create_all(db)
            account_events.bring_up(db)

    # People

    def any(self) -> bool:
        """Whether there is an account at all, suspended ones too: a desk that had one never opens without."""
        with self._looking.read() as db:
            return db.execute(sa.select(_accounts.c.name).limit(1)).first() is not None or bool(self._file.read())

    def all(self) -> list[Account]:
        """Everybody, by name."""
        with self._looking.read() as db:
            return sorted(self._everybody(db).values(), key=lambda account: account.name)

    def add(self, name: str, password: str, role: Role, *, by: str, first: bool = False) -> Account:
        """A new account. AccountError for a name that is taken, for a password that is weak, and, where it is to be the
        `first`, once there is another."""
        name = check_name(name)
        hash_ = self._passwords.hashed(password, name)
        with self._changing(by) as (db, tell):
            if first and self._everybody(db):
                raise AccountError("this desk has an owner already: sign in")
            if name in self._everybody(db):
                raise AccountError(f"{name} has an account already")
            row = {"name": name, "hash": hash_, "role": role, "suspended": False, "made": self._now()}
            db.execute(sa.insert(_accounts).values(row))
            tell("account made", name, role)
            return self._everybody(db)[name]

    def set_password(self, name: str, password: str, *, by: str) -> None:
        """A new password: every sign-in under the old one is over."""
        hash_ = self._passwords.hashed(password, name)
        with self._changing(by) as (db, tell):
            self._update(db, name, hash=hash_)
            self._end(db, sign_ins.c.name == name, "the password was changed")
            tell("password changed", name)

    def change_password(self, secret: str, old: str, new: str, address: str = "") -> str:
        """By the person's own hand, knowing the old one: the secret of a new sign-in; all others are over."""
        signed = self._must(secret)
        self.verify(signed.name, old, address)
        self.set_password(signed.name, new, by=signed.name)
        return self.sign_in(signed.name, new, address)

    def set_role(self, name: str, role: Role, *, by: str) -> None:
        """Another role, by a new sign-in."""
        with self._changing(by) as (db, tell):
            self._update(db, name, role=role)
            self._end(db, sign_ins.c.name == name, f"the role became {role}")
            tell("role changed", name, role)

    def suspend(self, name: str, *, by: str) -> None:
        """Out at once, and not in again until `restore`."""
        with self._changing(by) as (db, tell):
            self._update(db, name, suspended=True)
            self._end(db, sign_ins.c.name == name, "suspended")
            tell("suspended", name)

    def restore(self, name: str, *, by: str) -> None:
        """In again, by a new sign-in."""
        with self._changing(by) as (db, tell):
            self._update(db, name, suspended=False)
            tell("restored", name)

    def remove(self, name: str, *, by: str) -> None:
        """Gone, with everything that opened by it."""
        if name in self._file.read():
            raise AccountError(f"{name} stands in secrets.toml too and would come in by that: take it out there first")
        with self._changing(by) as (db, tell):
            self._update(db, name, suspended=True)
            db.execute(sa.delete(_accounts).where(_accounts.c.name == name))
            self._codes.forget(db, name)
            self._end(db, sign_ins.c.name == name, "the account is gone")
            tell("account removed", name)

    # Coming in and going out

    def verify(self, name: str, password: str, address: str = "") -> Account:
        """The account of this name and password. WrongSignIn, with the same words and the same work for a name that
        nobody has; LockedOut after five wrong ones, for longer each time."""
        name = name.strip().casefold()[:200]
        keys = lockouts.keys_of(name, address)
        with self._looking.read() as db:
            everybody = self._everybody(db)
        try:
            with self._write() as db:
                lockouts.count(db, keys, self._now())
        except LockedOut as error:
            self._tell_locked(name if name in everybody else UNKNOWN, address, error.until)
            raise
        account = everybody.get(name)
        dearest = max((cost_of(one.hash) for one in everybody.values()), default=0)
        hash_ = account.hash if account is not None else self._passwords.decoy(dearest)
        fits = self._passwords.fits(password, hash_)
        for cost in range(cost_of(hash_), dearest):  # each doubles the work: together as much as the dearest hash
            self._passwords.fits(password, self._passwords.decoy(cost))
        if not fits or account is None or account.suspended:
            self._tell("refused", name if account else UNKNOWN, address)
            raise WrongSignIn(DOES_NOT_FIT)
        with self._write() as db:
            lockouts.forgive(db, keys, self._now())
        return account

    def sign_in(self, name: str, password: str, address: str = "", *, replacing: str = "") -> str:
        """A new sign-in: the 256-bit secret for its cookie. The one before it in the same browser (`replacing`) is
        over. WrongSignIn and LockedOut as `verify` has them."""
        account, now, secret = self.verify(name, password, address), self._now(), secrets.token_urlsafe(32)
        row = {
            "ref": secrets.token_hex(8),
            "digest": _digest(secret),
            "name": account.name,
            "role": account.role,
            "stamp": account.stamp,
            "address": address[:45],
            "began": now,
            "seen": now,
            "why": "",
        }
        with self._changing(account.name) as (db, tell):
            if self._everybody(db).get(account.name) != account:  # suspended while the password was being looked at
                raise WrongSignIn(DOES_NOT_FIT)
            if replacing:
                self._end(db, sign_ins.c.digest == _digest(replacing), "signed in again")
            db.execute(sa.delete(sign_ins).where(sign_ins.c.began < now - KEPT_FOR.total_seconds()))
            db.execute(sa.insert(sign_ins).values(row))
            tell("signed in", account.name, address)
        return secret

    def who(self, secret: str) -> SignedIn | None:
        """Who holds this secret; None for nobody, or not any more. It does not count as activity."""
        return self._standing(sign_ins.c.digest == _digest(secret)) if secret else None

    def active(self, secret: str) -> SignedIn | None:
        """The same, for something a person's hand did. It does not wake who is idle: only the password does."""
        signed, now = self.who(secret), self._now()
        if signed is None or signed.idle:
            return signed
        with self._write() as db:
            mine = (sign_ins.c.ref == signed.ref) & sign_ins.c.ended.is_(None) & (sign_ins.c.seen < now)
            db.execute(sa.update(sign_ins).where(mine).values(seen=now))
        return self.who(secret)

    def sign_out(self, secret: str) -> None:
        """Over, wherever else the same cookie is held. One that is over already is no error."""
        self._revoke(sign_ins.c.digest == _digest(secret), "signed out", "")

    def sign_ins(self, name: str = "") -> list[SignedIn]:
        """Every sign-in that stands, newest first: of one person, or of everybody."""
        with self._looking.read() as db:
            rows = db.execute(sa.select(sign_ins).where(sign_ins.c.ended.is_(None)).order_by(sign_ins.c.began.desc()))
            everybody = self._everybody(db)
            found = [self._signed(row, everybody, self._now()) for row in rows.all()]
        return [one for one in found if one is not None and name in ("", one.name)]

    def revoke(self, ref: str, *, by: str) -> None:
        """End one sign-in; one that is over already is no error."""
        self._revoke(sign_ins.c.ref == ref, "revoked", by)

    def revoke_all(self, name: str = "", *, by: str, but: str = "") -> None:
        """End every sign-in of one person, or of everybody; `but`: the reference of one that stays."""
        which = sign_ins.c.ref != but
        self._revoke(which & (sign_ins.c.name == name) if name else which, "revoked", by)

    # One-time codes

    def enrol(self, secret: str, password: str, address: str = "") -> Enrolment:
        """A secret for the phone of who is signed in, for the password once more. It counts from `confirm` on."""
        signed = self._must(secret)
        self.verify(signed.name, password, address)
        self._codes.prepare()
        with self._changing(signed.name) as (db, tell):
            found = self._codes.enrol(db, signed.name)
            tell("one-time codes begun", signed.name)
        return found

    def has_codes(self, name: str) -> bool:
        """Whether this person's one-time codes count."""
        with self._looking.read() as db:
            return self._codes.active(db, name)

    def forget_codes(self, name: str, *, by: str) -> None:
        """Take them away, for a phone that is lost. What was confirmed by them is not any more."""
        with self._changing(by) as (db, tell):
            self._codes.forget(db, name)
            db.execute(sa.update(sign_ins).where(sign_ins.c.name == name).values(confirmed=None))
            tell("one-time codes taken away", name)

    def confirm(self, secret: str, code: str, address: str = "") -> SignedIn:
        """A right code, good once: for two minutes this sign-in may do one thing that asks for it. WrongSignIn for a
        wrong or used one, LockedOut after five."""
        signed, now = self._must(secret), self._now()
        keys = lockouts.keys_of(signed.name, address, "code")
        self._codes.prepare()
        with self._write() as db:
            lockouts.count(db, keys, now)
        with self._changing(signed.name) as (db, tell):
            right = self._codes.take(db, signed.name, code, now)
            if right:
                lockouts.forgive(db, keys, now)
                db.execute(sa.update(sign_ins).where(sign_ins.c.ref == signed.ref).values(confirmed=now))
            tell("code taken" if right else "code refused", signed.name, address)
        if not right:
            raise WrongSignIn(CODE_DOES_NOT_FIT)
        return self._must(secret)

    def fresh(self, signed: SignedIn) -> bool:
        """Whether this sign-in gave a one-time code within the last two minutes, or its person has none set up."""
        given = signed.confirmed is not None and self._clock.now() - signed.confirmed <= CONFIRMED_FOR
        return given or not self.has_codes(signed.name)

    def unlock(self, *, by: str) -> None:
        """Forget every wrong attempt."""
        with self._changing(by) as (db, tell):
            lockouts.unlock(db)
            tell("unlocked", "")

    # What the engine asks (desk.authority.Register)

    def of_actor(self, actor: str, age: timedelta = NOW) -> SignedIn | None:
        """Who stood behind a command's reference when it was used, `age` ago, and still stands."""
        name, _, ref = actor.partition("/")
        return self._standing((sign_ins.c.ref == ref) & (sign_ins.c.name == name), age) if ref else None

    def was(self, actor: str, age: timedelta = NOW) -> SignedIn | None:
        """Who stood behind it `age` ago, in the role of then, though the sign-in may be over by now."""
        name, _, ref = actor.partition("/")
        at = self._now() - age.total_seconds()
        with self._looking.read() as db:
            mine = (sign_ins.c.ref == ref) & (sign_ins.c.name == name)
            row = db.execute(sa.select(sign_ins).where(mine)).one_or_none() if ref else None
        if row is None or (row.ended is not None and row.ended < at):
            return None
        return _stood(row, Role(row.role), at)

    def role_of(self, name: str) -> Role | None:
        """The role of an account in use."""
        with self._looking.read() as db:
            account = self._everybody(db).get(name)
        return account.role if account is not None and not account.suspended else None

    def take_confirmation(self, actor: str, age: timedelta = NOW) -> bool:
        """Use up the confirmation of this sign-in; False where there is none, or it is older than two minutes."""
        since = self._now() - age.total_seconds() - CONFIRMED_FOR.total_seconds()
        mine = (sign_ins.c.ref == actor.partition("/")[2]) & sign_ins.c.ended.is_(None)
        with self._write() as db:
            fresh = sa.update(sign_ins).where(mine & (sign_ins.c.confirmed >= since)).values(confirmed=None)
            return db.execute(fresh).rowcount == 1

    def events(self, most: int = 200) -> list[Event]:
        """What happened, newest first."""
        with self._looking.read() as db:
            rows = db.execute(sa.select(events).order_by(events.c.number.desc()).limit(most)).all()
        return [Event(_time(row.at), row.event, row.name, row.by, row.details) for row in rows]

    def verify_events(self) -> list[str]:
        """What is wrong with the chain of what happened, one sentence a break; nothing where it is whole."""
        with self._looking.read() as db:
            return account_events.verify(db)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
        self._looking.close()

    # Within

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """Into the very file that is looked at: a backup may have been put back under us."""
        self._database.follow()
        with self._database.write() as db:
            yield db

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _must(self, secret: str) -> SignedIn:
        signed = self.who(secret)
        if signed is None:
            raise AccountError("this sign-in is over: sign in again")
        return signed

    def _everybody(self, db: sa.Connection) -> dict[str, Account]:
        rows = db.execute(sa.select(_accounts)).all()
        own = {
            row.name: Account(row.name, Role(row.role), row.hash, row.suspended, made=_time(row.made)) for row in rows
        }
        return {**self._file.read(), **own}

    def _standing(self, which: sa.ColumnElement[bool], age: timedelta = NOW) -> SignedIn | None:
        with self._looking.read() as db:
            row = db.execute(sa.select(sign_ins).where(which)).one_or_none()
            if row is None:
                return None
            return self._signed(row, self._everybody(db), self._now() - age.total_seconds())

    def _signed(self, row: sa.Row[Any], everybody: Mapping[str, Account], at: float) -> SignedIn | None:
        """The sign-in of this row, as of `at`; None where it is over, or its account is not what it was."""
        account = everybody.get(row.name)
        if account is None or account.suspended or row.ended is not None:
            return None
        if (account.role, account.stamp) != (row.role, row.stamp):
            return None
        return _stood(row, account.role, at)

    def _update(self, db: sa.Connection, name: str, **values: Any) -> None:
        before = self._everybody(db)
        if not db.execute(sa.update(_accounts).where(_accounts.c.name == name).values(values)).rowcount:
            written = f"is written in {before[name].source}: change it there" if name in before else "has no account"
            raise AccountError(f"{name} {written}")
        if _owners(before) and not _owners(self._everybody(db)):
            raise AccountError(f"{name} is the only owner in use: make another one first")

    def _end(self, db: sa.Connection, which: sa.ColumnElement[bool], why: str) -> int:
        over = {"ended": self._now(), "why": why, "confirmed": None}
        return int(db.execute(sa.update(sign_ins).where(which & sign_ins.c.ended.is_(None)).values(over)).rowcount)

    def _revoke(self, which: sa.ColumnElement[bool], why: str, by: str) -> None:
        with self._changing(by) as (db, tell):
            names = db.execute(sa.select(sign_ins.c.name).where(which & sign_ins.c.ended.is_(None))).scalars().all()
            self._end(db, which, why)
            for name in sorted(set(names)):
                tell(why, name, f"{names.count(name)}")

    def _tell_locked(self, name: str, address: str, until: datetime) -> None:
        """Once for each lock: who goes on knocking must not fill the disk with it."""
        key, end = lockouts.told_of(name, address), until.timestamp()
        with self._looking.read() as db:
            if lockouts.known(db, key, end):
                return
        with self._changing("") as (db, tell):
            if not lockouts.known(db, key, end):
                lockouts.know(db, key, end, self._now())
                tell("locked", name, address)

    def _tell(self, event: str, name: str, details: str) -> None:
        with self._changing("") as (_, tell):
            tell(event, name, details)

    @contextmanager
    def _changing(self, by: str) -> Iterator[tuple[sa.Connection, Any]]:
        """One transaction, and what to tell of it; told and done, or neither."""
        with self._write() as db:

            def tell(event: str, name: str, details: str = "") -> None:
                account_events.add(db, self._now(), event, name, by or name, details[:200])

            yield db, tell


def _stood(row: sa.Row[Any], role: Role, at: float) -> SignedIn | None:
    """The sign-in of this row as of `at`; None where its twelve hours were over."""
    ends = row.began + ENDS_AFTER.total_seconds()
    if at >= ends:
        return None
    idle = at - row.seen >= IDLE_AFTER.total_seconds()
    confirmed = None if row.confirmed is None else _time(row.confirmed)
    times = _time(row.began), _time(row.seen), _time(ends)
    return SignedIn(row.ref, row.name, role, *times, idle, row.address, confirmed)


def _owners(everybody: Mapping[str, Account]) -> list[str]:
    return [a.name for a in everybody.values() if a.role is Role.OWNER and not a.suspended]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def main(arguments: list[str] | None = None) -> int:
    """0 where it was done, 2 where it was refused."""
    from desk import accounts_line

    return accounts_line.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
