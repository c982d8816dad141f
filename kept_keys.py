"""Settings that were typed on a page, kept encrypted: one file, readable by its owner only, replaced whole or not at
all. Its key lies where E*TRADE's sign-in has its own: in the keyring, else beside the file (`etrade.vault`).

The rule: a file that cannot be opened is left as it is, and nothing is written over it until a person sets it aside.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from domain.clock import monotonic
from domain.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

# What may be kept, by what it is for. Not TRADING: that orders leave this machine stays a deliberate act in `.env`.
GROUPS: dict[str, tuple[str, ...]] = {
    "etrade": ("etrade_environment", "etrade_consumer_key", "etrade_consumer_secret", "etrade_account_id"),
    "email": ("smtp_server", "smtp_port", "smtp_security", "smtp_user", "smtp_pass", "email_from", "email_to"),
    "sms": ("twilio_account_sid", "twilio_auth_token", "twilio_from_number", "sms_to"),
    "whatsapp": ("twilio_account_sid", "twilio_auth_token", "whatsapp_from_number", "whatsapp_to"),
    "slack": ("slack_webhook_url", "slack_bot_token", "slack_channel"),
    "webhook": ("webhook_url", "webhook_secret"),
}
KEEPABLE = tuple(dict.fromkeys(name for names in GROUPS.values() for name in names))
FILE, ASIDE = "kept.sealed", "kept.unreadable"
MOST_BYTES = 262_144
LOCK_WAIT_S = 10
LOOK_AGAIN_S = 60.0  # at one that could not be opened: a keyring is unlocked after a while
_Mark = tuple[int, int, int]


class KeptKeys:
    """What is kept in `folder`, by the settings' names in lower case. Safe to use from many threads and processes; what
    was read is read anew only when the file changed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / FILE
        self._turn = threading.Lock()
        self._known: tuple[_Mark, dict[str, str] | str, float] | None = None

    def read(self) -> dict[str, str]:
        """Everything that is kept; SettingsError says why it cannot be read."""
        with self._turn:
            mark = self._mark()
            if mark is None:
                return {}
            if self._known is None or self._known[0] != mark or monotonic() > self._known[2]:
                opened = self._opened()
                until = monotonic() + LOOK_AGAIN_S if isinstance(opened, str) else float("inf")
                self._known = (mark, opened, until)
            found = self._known[1]
        if isinstance(found, str):
            raise SettingsError(f"the settings kept on this machine are of no use: {found}")
        return dict(found)

    def change(self, changes: Mapping[str, str | None], check: Callable[[dict[str, str]], None]) -> None:
        """Lay these over what is kept; None takes one away. `check` sees the outcome and raises where it may not be:
        then, and where the file cannot be read or written (SettingsError), everything stays as it was."""
        try:
            self._private_folder()
            with FileLock(self._folder / "kept.lock", timeout=LOCK_WAIT_S):
                kept: dict[str, str | None] = {**self.read(), **changes}
                left = {name: value for name, value in kept.items() if value is not None}
                check(dict(left))
                self._write(left)
        except Timeout:
            raise SettingsError("another program is changing the kept settings: try again") from None
        except OSError as error:
            raise SettingsError(f"nothing was kept: {error.strerror or error} ({self._folder})") from None

    def set_aside(self) -> Path:
        """Take a file that cannot be read out of the way, and begin anew without it: where it lies now."""
        names = itertools.chain([ASIDE], (f"{ASIDE}.{n}" for n in itertools.count(1)))  # an earlier one is kept
        aside = next(self._folder / name for name in names if not (self._folder / name).exists())
        try:
            self._path.replace(aside)
        except OSError as error:
            raise SettingsError(f"it could not be set aside: {error.strerror or error}") from None
        return aside

    def _mark(self) -> _Mark | None:
        """Another one whenever the file was replaced; None where there is none. One that cannot be looked at is one
        that cannot be read."""
        try:
            looked = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return (0, 0, 0)
        return (looked.st_ino, looked.st_mtime_ns, looked.st_size)

    def _opened(self) -> dict[str, str] | str:
        """What the file holds, or why that is not known."""
        from cryptography.fernet import InvalidToken

        from etrade.vault import KeyUnusable

        try:
            with self._path.open("rb") as file:
                sealed = file.read(MOST_BYTES)
            return _texts(self._fernet(make=False).decrypt(sealed))
        except KeyUnusable as error:
            return str(error)
        except (InvalidToken, ValueError):
            return "the file is damaged, or was locked with another machine's key"
        except OSError as error:
            return f"the file cannot be read ({error.strerror})"

    def _write(self, values: dict[str, str]) -> None:
        from etrade.vault import KeyUnusable, replace_whole

        try:
            sealed = self._fernet(make=True).encrypt(json.dumps(values).encode())
        except KeyUnusable as error:
            raise SettingsError(f"nothing was kept: {error}") from None
        replace_whole(self._path, sealed)

    def _fernet(self, *, make: bool) -> Fernet:
        """The lock. To look makes no key: a keyring that is silent today has the right one tomorrow."""
        from cryptography.fernet import Fernet

        from etrade.vault import KeyUnusable, best_key, file_key, keyring_key

        if (self._folder / "key").exists():
            key: bytes | None = file_key(self._folder)
        else:
            key = best_key(self._folder) if make and self._mark() is None else keyring_key()
        if key is None:
            raise KeyUnusable("their key lies in the keyring of this machine, which does not answer: unlock it")
        # The keyring's key seals other things too: what is sealed here opens nowhere else.
        own = hashlib.sha256(b"kept settings\0" + key).digest()
        return Fernet(base64.urlsafe_b64encode(own))

    def _private_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)


@functools.cache
def kept_in(data_dir: Path) -> KeptKeys:
    """What is kept under this data folder."""
    return KeptKeys(data_dir / "keys")


def _texts(opened: bytes) -> dict[str, str]:
    found = json.loads(opened)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError
    return found
