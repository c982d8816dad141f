"""The access token on disk: encrypted, readable by its owner only, replaced whole or not at all.

The key lies in the operating system's keyring where one works, else beside the file with mode 0600. A file that is
damaged, foreign or locked with another key is as good as none, and a sentence says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keyring
from cryptography.fernet import Fernet, InvalidToken

from etrade.signing import Keys, Pair
from etrade.tokens import Token, fingerprint

SERVICE, ENTRY = "etrade-candlestick-desk", "token key"
KEYRING_WAIT_S = 5.0  # a keyring may ask a person who is not there
NOBODY = "Nobody has signed in to E*TRADE here yet: open the sign-in link and paste the code."
MOST_BYTES = 65_536
KeySource = Callable[[Path], bytes]


class KeyUnusable(Exception):
    """No key to lock or unlock with; the sentence says why."""


class Vault:
    """One encrypted file for each environment in `folder`. A keyring that does not answer takes five seconds, once."""

    def __init__(self, folder: Path, key_source: KeySource | None = None) -> None:
        self._folder = folder
        self._key_source = key_source or best_key
        self._key: bytes | None = None

    def load(self, environment: str, keys: Keys) -> tuple[Token | None, str]:
        path = self._path(environment)
        try:
            if not path.exists():
                return None, NOBODY
            with path.open("rb") as file:
                sealed = file.read(MOST_BYTES)
            return _token(self._fernet().decrypt(sealed), environment, keys), ""
        except KeyUnusable as error:
            why = str(error)
        except InvalidToken:
            why = "it is damaged, or was locked with another machine's key"
        except _Foreign as error:
            why = str(error)
        except OSError as error:
            why = f"it cannot be read ({error.strerror})"
        return None, f"The kept E*TRADE sign-in is of no use: {why}. Sign in again."

    def save(self, token: Token, keys: Keys) -> None:
        """OSError where it cannot be written; what was there then still stands."""
        record = {
            "version": 1,
            "environment": token.environment,
            "key": fingerprint(keys.key),
            "token": token.pair.token,
            "secret": token.pair.secret,
            "issued_at": token.issued_at.timestamp(),
            "last_used": token.last_used.timestamp(),
            "refused": token.refused,
            "taken_over": token.taken_over,
        }
        try:
            sealed = self._fernet().encrypt(json.dumps(record).encode())
        except KeyUnusable as error:
            raise OSError(0, str(error)) from None
        private_folder(self._folder)
        replace_whole(self._path(token.environment), sealed)

    def _path(self, environment: str) -> Path:
        return self._folder / f"{environment}.token"

    def _fernet(self) -> Fernet:
        if self._key is None:
            self._key = self._key_source(self._folder)
        try:
            return Fernet(self._key)
        except ValueError:
            raise KeyUnusable("its key is damaged") from None


def best_key(folder: Path) -> bytes:
    """The keyring's key, or the file's where no keyring works. A file that is there already stays the key."""
    if not (folder / "key").exists() and (found := keyring_key()):
        return found
    return file_key(folder)


def file_key(folder: Path) -> bytes:
    """The key beside the file, made where there is none. KeyUnusable where others can read it."""
    path = folder / "key"
    try:
        private_folder(folder)
        with contextlib.suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "wb") as file:
                file.write(Fernet.generate_key())
                file.flush()
                os.fsync(file.fileno())
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyUnusable(f"others may read its key: delete {path.name} in {folder.name}")
        return path.read_bytes()[:200].strip()
    except OSError as error:
        raise KeyUnusable(f"its key cannot be read ({error.strerror})") from None


def keyring_key() -> bytes | None:
    """The key in the keyring, made where there is none yet; None where there is no keyring, or none that answers in
    time."""
    found: list[bytes] = []
    asker = threading.Thread(target=_ask_keyring, args=(found,), daemon=True)
    asker.start()
    asker.join(KEYRING_WAIT_S)
    return found[0] if found else None


def _ask_keyring(found: list[bytes]) -> None:
    with contextlib.suppress(Exception):  # whatever a desktop's keyring raises: there is none then
        kept = keyring.get_password(SERVICE, ENTRY)
        if kept is None:
            keyring.set_password(SERVICE, ENTRY, Fernet.generate_key().decode())
            kept = keyring.get_password(SERVICE, ENTRY)
        if kept:
            Fernet(kept)
            found.append(kept.encode())


class _Foreign(Exception):
    """Opened, and not a token for here."""


def _token(opened: bytes, environment: str, keys: Keys) -> Token:
    try:
        record: dict[str, Any] = json.loads(opened)
        if record["version"] != 1 or record["environment"] != environment:
            raise _Foreign("it is of another environment or version")
        if record["key"] != fingerprint(keys.key):
            raise _Foreign("it was made with another consumer key")
        pair = Pair(_text(record["token"]), _text(record["secret"]))
        issued, used = (datetime.fromtimestamp(record[name], tz=UTC) for name in ("issued_at", "last_used"))
        words = (str(record.get(name, "")) for name in ("refused", "taken_over"))
        return Token(pair, environment, issued, used, *words)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError):
        raise _Foreign("it holds something else") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def replace_whole(path: Path, content: bytes) -> None:
    """Either the old file or the new one, whatever dies; mode 0600 from the first byte."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
