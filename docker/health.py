"""Is the desk alive? `python docker/health.py dashboard` or `bot`: 0 while it is, 1 and one sentence where it is not.

The rule: it lives by what it last did, not by what it says of itself. The dashboard must answer, and an engine must
have renewed its lease: it does so every four seconds from the loop it trades in, and a lease that runs out (15 s) means
that nobody watches the stops. The lease is in the machine's own time, where the heartbeat is in the market's, which may
be a simulated one. Asked twice a minute for ever, so it imports next to nothing and reads the environment itself.
"""

from __future__ import annotations

import functools
import http.client
import os
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

ASK_S = 5.0
ENGINES = ("dashboard", "bot")
_LEASE = "SELECT holder, until FROM lease WHERE name = 'engine'"  # `until`: microseconds since 1970, UTC
Lease = tuple[str, int]


def main(command: str) -> int:
    """Ask what a container that runs `command` must answer; other commands end by themselves and are always well."""
    if command not in ENGINES:
        return 0
    wrong = (_served() if command == "dashboard" else "") or _engine(time.time())
    print(wrong or "alive")
    return 1 if wrong else 0


def _served() -> str:
    """What is wrong with the server; '' where it answers."""
    port = int(os.environ.get("STREAMLIT_SERVER_PORT") or 8501)
    try:
        with closing(_line(port)) as line:
            line.request("GET", "/_stcore/health")
            status = line.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"the dashboard does not answer on port {port}: {error}"
    return "" if status == http.client.OK else f"the dashboard answers {status}"


def _line(port: int) -> http.client.HTTPConnection:
    if not os.environ.get("STREAMLIT_SERVER_SSL_CERT_FILE"):
        return http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    own = ssl.create_default_context()  # its own certificate, on its own loopback: nobody else can stand there
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=ASK_S, context=own)


def _engine(now: float) -> str:
    """What is wrong with the engine; '' where one holds its lease, of whatever desk of this data folder."""
    leases, unread = list[Lease](), ""
    for read in _ledgers():
        try:
            leases += read()
        except Exception as error:  # noqa: BLE001 - whatever its driver says; another desk's may be alive
            unread = str(error).strip().splitlines()[0]
    holder, until = max(leases, key=lambda lease: lease[1], default=("", 0))
    late = now - until / 1e6
    if holder and late <= 0:
        return ""
    if unread:
        return f"a ledger cannot be read: {unread}"
    if not leases:
        return "no engine has ever run over this data folder"
    return f"the engine is mute: {holder or 'the last one stopped and'} should have been heard {late:.0f} s ago"


def _ledgers() -> Iterator[Callable[[], list[Lease]]]:
    """How each ledger's lease is read."""
    data, address = Path(os.environ.get("DATA_DIR") or "data"), os.environ.get("DATABASE_URL") or ""
    if address:
        return (functools.partial(_in_postgres, url) for url in _addresses(address, data))
    return (functools.partial(_in_sqlite, path) for path in data.glob("ledger-*.db"))


def _in_sqlite(path: Path) -> list[Lease]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=ASK_S)) as ledger:
        return ledger.execute(_LEASE).fetchall()


def _in_postgres(url: str) -> list[Lease]:
    import psycopg

    with psycopg.connect(url, connect_timeout=int(ASK_S)) as ledger:
        return ledger.execute(_LEASE).fetchall()


def _addresses(address: str, data: Path) -> list[str]:
    """Each desk that left its files here has a database of its own where the address says `{desk}`."""
    if "{desk}" not in address:
        return [address]
    desks = {path.stem.partition("-")[2] for kind in ("live", "broker") for path in data.glob(f"{kind}-*.db")}
    return [address.replace("{desk}", desk.replace("-", "_")) for desk in sorted(desks)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "dashboard"))
