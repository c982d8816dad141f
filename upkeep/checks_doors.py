"""Who may come in, by which door, and by which channels people are told."""

from __future__ import annotations

import os
import socket
import stat
import tomllib
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import settings as settings_file
from desk.account_tables import accounts as accounts_table
from desk.authority import Role
from desk.credentials import WHERE, Credentials
from desk.database import Database
from desk.door import CONFIG, is_loopback
from desk.passwords import LEAST_COST
from domain import registry
from domain.clock import SystemClock
from domain.errors import LedgerError, SettingsError
from kept_keys import GROUPS
from upkeep.findings import Finding, fine, note, wrong
from upkeep.presence import used
from upkeep.unsaid import unsaid

PORT = 8501
ENCRYPT = "docs/sign-in.md; in a container: docker compose run --rm dashboard certificate"
_VARIABLES = {
    "port": "STREAMLIT_SERVER_PORT",
    "address": "STREAMLIT_SERVER_ADDRESS",
    "sslCertFile": "STREAMLIT_SERVER_SSL_CERT_FILE",
    "sslKeyFile": "STREAMLIT_SERVER_SSL_KEY_FILE",
}
EXPIRES = timedelta(days=21)
_SHARED = ("sms", "whatsapp")  # the two share Twilio's keys: either is begun by settings of its own


def accounts() -> Iterator[Finding]:
    """Whether the desk asks who is there, and whether an owner is among them."""
    settings = settings_file.roughly()
    path, owners, people = Path(settings.accounts_url.removeprefix("sqlite:///")), 0, 0
    try:
        found = Credentials(WHERE, LEAST_COST).read()
        owners, people = sum(one.role is Role.OWNER for one in found.values()), len(found)
    except SettingsError as error:
        yield wrong("Accounts", unsaid(error), "nobody comes in by that file", f"mend {WHERE}")
    if path.exists() and path.stat().st_size:
        database = Database(settings.accounts_url, read_only=True)
        try:
            with database.read() as db:
                rows = db.execute(sa.select(accounts_table.c.role, accounts_table.c.suspended)).all()
        except LedgerError as error:
            cure = "make restore FROM=…" if os.access(path.parent, os.W_OK) else f"let {path.parent} be written first"
            yield wrong("Accounts", unsaid(error), "nobody can sign in", cure)
            return
        finally:
            database.close()
        people += len(rows)
        owners += sum(row.role == Role.OWNER and not row.suspended for row in rows)
    if people and not owners:
        why, cure = "nobody can set limits, keys or people", "python -m desk.accounts --help"
        yield wrong("Accounts", "no owner among them who may sign in", why, cure)
    elif people:
        yield fine("Accounts", f"{people}, {owners} of them owners")
    elif is_loopback(str(_server().get("address", ""))) and not settings.public_url:
        why = "the desk opens for whoever sits at this machine, and for nobody else"
        yield note("Accounts", "none yet", why, "make owner")
    else:
        why = "others could come in by this door: the desk does not open without one"
        yield wrong("Accounts", "none yet", why, "make owner")


def port_and_tls() -> Iterator[Finding]:
    """What .streamlit/config.toml and the environment say of the door."""
    settings, server = settings_file.roughly(), _server()
    port, address = int(server.get("port", PORT)), str(server.get("address", ""))
    with socket.socket() as line:
        line.settimeout(1.0)
        taken = line.connect_ex(("127.0.0.1", port)) == 0
    if taken and used(settings.data_dir):
        yield fine("Port", f"{port} answers: the desk runs")
    elif taken:
        yield note(
            "Port", f"{port} is taken by another program", "make run cannot use it", f"make run PORT={port + 99}"
        )
    else:
        yield fine("Port", f"{port} is free")
    cert, key = server.get("sslCertFile"), server.get("sslKeyFile")
    if not cert and not key:
        if not is_loopback(address) and not settings.public_url:
            why = "passwords could be read on the way: the desk does not open"
            yield wrong("Encryption", f"none, and it listens on {address or 'every address'}", why, ENCRYPT)
        else:
            how = "a proxy ends TLS" if settings.public_url else "reached from this machine alone"
            yield fine("Encryption", how)
        return
    yield from _files(cert, key)


def _server() -> dict[str, Any]:
    """How the server is told to listen: by its file, and above that by the environment, as in a container."""
    path = Path(CONFIG)
    said = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    outside = settings_file.without_ours()
    told = {name: outside[variable] for name, variable in _VARIABLES.items() if outside.get(variable)}
    return {**said.get("server", {}), **told}


def _files(cert: object, key: object) -> Iterator[Finding]:
    for name, value in (("sslCertFile", cert), ("sslKeyFile", key)):
        path = Path(str(value or ""))
        if not value or not path.is_file() or not os.access(path, os.R_OK):
            said = f"server.{name} ({value or 'not set'}) cannot be read"
            yield wrong("TLS files", said, "the dashboard does not start", f"mend {CONFIG}")
            return
    if os.name == "posix" and stat.S_IMODE(Path(str(key)).stat().st_mode) & 0o077:
        yield wrong("TLS files", f"others can read {key}", "they could pose as this desk", f"chmod 600 {key}")
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(Path(str(cert)).read_bytes()).not_valid_after_utc
    except ValueError:
        yield wrong("TLS files", f"{cert} is no PEM certificate", "no browser comes in", f"mend {CONFIG}")
        return
    left = ends - SystemClock().now().astimezone(UTC)
    said, cure = f"the certificate ends {ends:%d %b %Y}", "renew the certificate, then start the dashboard again"
    if left < timedelta():
        yield wrong("TLS files", said, "browsers refuse the desk", cure)
    elif left < EXPIRES:
        yield note("TLS files", said, "browsers refuse the desk from then on", cure)
    else:
        yield fine("TLS files", said)


def channels() -> Iterator[Finding]:
    """By which channels people are told; one that was begun and not finished is wrong."""
    try:
        settings = settings_file.load()
    except SettingsError:
        settings = settings_file.roughly()
    ready = []
    for name in registry.names("alerts"):
        missing = registry.part("alerts", name).missing(settings)
        own = [one for one in GROUPS.get(name, ()) if name not in _SHARED or one.startswith(name)]
        begun = [one for one in own if _given(settings, one)]
        if not missing:
            ready.append(name)
        elif begun:
            yield wrong(f"Channel {name}", f"lacks {', '.join(missing)}", "nothing goes out by it", _cure(missing))
    if ready:
        yield fine("Channels", ", ".join(ready))
    else:
        why = "you hear of fills and trouble on the pages alone"
        yield note("Channels", "none is set up", why, "Settings -> Notifications")


def _given(settings: settings_file.Settings, name: str) -> bool:
    return bool(getattr(settings, name) != settings_file.Settings.model_fields[name].default)


def _cure(missing: list[str]) -> str:
    return f"Settings -> Notifications, or {', '.join(missing)} in .env"
