"""What the desk is told, where it keeps what it knows, what stops it, and how it stands with E*TRADE."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import settings as settings_file
from desk.halt import halt_level
from domain.clock import SystemClock
from domain.errors import SettingsError
from settings import Settings
from upkeep.findings import Finding, fine, note, wrong
from upkeep.presence import HALF, JOURNAL
from upkeep.unsaid import unsaid

LOW, SOON = 200 << 20, 1 << 30  # bytes of free disk
EDIT = "mend the line in .env (.env.example explains each), then start again"
SIGN_IN = "Settings -> E*TRADE: open the sign-in link and paste the code"


def read() -> Iterator[Finding]:
    """Whether what is set can be used, and what in it may be meant otherwise."""
    try:
        settings_file.load()
        problem = settings_file.kept_problem()
    except SettingsError as error:
        for said in unsaid(error).removeprefix(settings_file.WRONG).split("; "):
            yield wrong("Settings", said, "the desk does not start", EDIT)
        return
    if problem:
        cure = "unlock the keyring of this machine, or Settings -> Begin anew"
        yield wrong("Kept settings", unsaid(problem), "the desk opens without the keys typed on its pages", cure)
    doubts = [unsaid(one) for one in settings_file.doubts()]
    for said in doubts:
        yield wrong("Settings", said, "what is meant there does not count, or others can read it", EDIT)
    if not doubts and not problem:
        yield fine("Settings", "all of them can be read")


def folder() -> Iterator[Finding]:
    """The data folder: there, ours, with room, and not half restored."""
    data = settings_file.roughly().data_dir
    if (data / JOURNAL).exists():
        yield wrong("Data folder", HALF.format(folder=data), "nothing starts before that", "make restore")
    if not data.exists():
        yield note("Data folder", f"{data} is not there yet", "the first start makes it", "make run")
        data = next(above for above in data.absolute().parents if above.exists())
    elif not data.is_dir():
        yield wrong("Data folder", f"{data} is no folder", "the ledger has no place", "set DATA_DIR in .env")
        return
    if not os.access(data, os.W_OK | os.X_OK):
        cure = f"sudo chown -R $USER {data}, or set DATA_DIR in .env"
        yield wrong("Data folder", f"{data} cannot be written", "no order can be remembered", cure)
    elif os.name == "posix" and stat.S_IMODE(data.stat().st_mode) & 0o002:
        yield wrong("Data folder", f"anybody may write into {data}", "anybody could halt the desk", f"chmod o-w {data}")
    else:
        yield fine("Data folder", f"{data.absolute()} can be written")
    yield _room(data)


def _room(data: Path) -> Finding:
    free = shutil.disk_usage(data).free
    said, cure = f"{free / 1e9:,.1f} GB free", f"make room on the disk of {data}: du -sh {data}/*"
    if free < LOW:
        return wrong("Disk", said, "a ledger that cannot be written stops all trading", cure)
    if free < SOON:
        return note("Disk", said, "it fills up", cure)
    return fine("Disk", said)


def halt() -> Iterator[Finding]:
    """A HALT file stops the desk until a person takes it away."""
    data = settings_file.roughly().data_dir
    for path in sorted(data.glob("HALT*")):
        found = halt_level([path])
        level = found[0].name if found else "HALT"
        why = "every engine of this folder obeys it" if path.name == "HALT" else "the desk of that name obeys it"
        yield note("HALT file", f"{path} says {level}", why, f"when you know why it is there: rm {path}, then re-arm")
    if not list(data.glob("HALT*")):
        yield fine("HALT file", "none")


def etrade() -> Iterator[Finding]:
    """Keys and the sign-in of today, as far as that is known here: E*TRADE is not asked."""
    settings = settings_file.roughly()
    with contextlib.suppress(SettingsError):  # said above
        settings = settings_file.load()
    if settings.etrade_environment == "off":
        if settings.trading == "etrade":
            why = "TRADING=etrade sends orders there"
            yield wrong("E*TRADE", "is off", why, "set ETRADE_ENVIRONMENT in .env, or TRADING=paper")
        else:
            yield fine("E*TRADE", "off")
        return
    if settings.etrade_environment != "simulator" and not (
        settings.etrade_consumer_key and settings.etrade_consumer_secret
    ):
        cure = "Settings -> E*TRADE, or ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET in .env"
        yield wrong("E*TRADE keys", "are missing", f"{settings.etrade_environment} cannot be asked without", cure)
        return
    yield fine("E*TRADE keys", f"there, for {settings.etrade_environment}")
    yield _sign_in(settings)


def _sign_in(settings: Settings) -> Finding:
    from etrade.signing import Keys
    from etrade.tokens import TokenState, midnight_after
    from etrade.vault import KeyUnusable, Vault, file_key, keyring_key
    from etrade_client import SIMULATOR_KEYS

    def looked_at(folder: Path) -> bytes:
        """The key that is there: to look makes none."""
        if (folder / "key").exists():
            return file_key(folder)
        if (found := keyring_key()) is None:
            raise KeyUnusable("its key is gone, or lies in a keyring that does not answer")
        return found

    keys = Keys(settings.etrade_consumer_key, settings.etrade_consumer_secret)
    keys = SIMULATOR_KEYS if settings.etrade_environment == "simulator" else keys
    token, said = Vault(settings.etrade_dir, looked_at).load(settings.etrade_environment, keys)
    why = "no prices and no orders before a person has signed in; that is so every day"
    if token is None:
        return note("E*TRADE sign-in", unsaid(said), why, SIGN_IN)
    now = SystemClock().now()
    if token.state(now) is TokenState.DEAD:
        return note("E*TRADE sign-in", "is over: it ends at midnight in New York", why, SIGN_IN)
    hours = (midnight_after(token.issued_at) - now).total_seconds() / 3600
    return fine("E*TRADE sign-in", f"kept, {hours:.1f} hours left")
