"""One-time codes (TOTP, RFC 6238) of a person's phone: what arming asks for beside the password.

The rule: a code is good once. Its half minute is written down before anything is done on the strength of it, so that
who looks over a shoulder comes too late.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyotp
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from desk.account_tables import codes
from domain.errors import AccountError
from etrade.vault import KeyUnusable

ISSUER = "Candlestick desk"
STEP_S, STEPS_OFF = 30, (-1, 0, 1)  # a phone's clock may be half a minute off
KeySource = Callable[[Path], bytes]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a person's phone is told, once: type `secret` into it, or open `uri`."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


class OneTime:
    """The sealed secrets in one table; the key lies in `folder` or in the keyring (`etrade.vault`)."""

    def __init__(self, folder: Path, key_source: KeySource) -> None:
        self._folder, self._key_source = folder, key_source
        self._fernet: Fernet | None = None

    def prepare(self) -> None:
        """Fetch the key, which may take seconds where a keyring asks; AccountError where there is none to be had."""
        self._key()

    def enrol(self, db: sa.Connection, name: str) -> Enrolment:
        """A new secret, which counts from the first right code on. AccountError where one counts already."""
        if self.active(db, name):
            raise AccountError(
                f"{name} has one-time codes already; `python -m desk.accounts no-codes {name}` takes them away"
            )
        secret = pyotp.random_base32()
        self.forget(db, name)
        sealed = self._key().encrypt(json.dumps({"name": name, "secret": secret}).encode())
        db.execute(sa.insert(codes).values(name=name, sealed=sealed, step=0, active=False))
        return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER))

    def active(self, db: sa.Connection, name: str) -> bool:
        """Whether this person's codes count."""
        row = db.execute(sa.select(codes.c.active).where(codes.c.name == name)).one_or_none()
        return row is not None and bool(row.active)

    def take(self, db: sa.Connection, name: str, code: str, now: float) -> bool:
        """Whether the code is right and new; then it and every older one is used up, and codes count from now on."""
        row = db.execute(sa.select(codes).where(codes.c.name == name)).one_or_none()
        if row is None:
            return False
        step = _step_of(self._open(row.sealed, name), "".join(code.split()), now)
        if step is None or step <= row.step:
            return False
        db.execute(sa.update(codes).where(codes.c.name == name).values(step=step, active=True))
        return True

    def forget(self, db: sa.Connection, name: str) -> None:
        """Take a person's codes away."""
        db.execute(sa.delete(codes).where(codes.c.name == name))

    def _open(self, sealed: bytes, name: str) -> pyotp.TOTP:
        try:
            opened = json.loads(self._key().decrypt(sealed))
        except InvalidToken:
            raise AccountError(_no_use(name)) from None
        if opened["name"] != name:
            raise AccountError(_no_use(name))
        return pyotp.TOTP(opened["secret"])

    def _key(self) -> Fernet:
        if self._fernet is None:
            try:
                kept = self._key_source(self._folder)
            except KeyUnusable as error:
                raise AccountError(f"one-time codes cannot be kept: {error}") from None
            # The keyring's key seals other things too: what is sealed here opens nowhere else.
            own = hashlib.sha256(b"one-time codes\0" + kept).digest()
            self._fernet = Fernet(base64.urlsafe_b64encode(own))
        return self._fernet


def _step_of(totp: pyotp.TOTP, code: str, now: float) -> int | None:
    """The half minute a code belongs to; None for a wrong one. Each candidate is looked at, whatever the first says."""
    here = int(now // STEP_S)
    fits = [
        here + off for off in STEPS_OFF if hmac.compare_digest(totp.generate_otp(here + off).encode(), code.encode())
    ]
    return max(fits, default=None)


def _no_use(name: str) -> str:
    return (
        f"the one-time codes of {name} were sealed with another machine's key: "
        f"`python -m desk.accounts no-codes {name}`, then set them up again"
    )
