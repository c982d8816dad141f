"""What lies under the desk: Python, its packages, the programs that only the tests need, the clock. Nothing but the
standard library."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Dict, Iterator, List, Tuple  # noqa: UP035 - read by Pythons that are too old for the rest

from upkeep.findings import Finding, fine, note, wrong

ROOT = Path(__file__).resolve().parents[1]
LEAST = (3, 11)
INSTALL = "make run   (makes .venv and installs requirements.txt)"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)")
# By the name under which they are imported, where that is not the package's own.
MODULES: Dict[str, str] = {  # noqa: UP006
    "streamlit-authenticator": "streamlit_authenticator",
    "TA-Lib": "talib",
    "pandas-ta-classic": "pandas_ta_classic",
    "exchange_calendars": "exchange_calendars",
    "dask": "dask",
    "scikit-learn": "sklearn",
    "requests-oauthlib": "requests_oauthlib",
    "slack-sdk": "slack_sdk",
    "APScheduler": "apscheduler",
    "SQLAlchemy": "sqlalchemy",
    "psycopg": "psycopg",
    "pydantic-settings": "pydantic_settings",
}
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def python() -> Iterator[Finding]:
    """The interpreter, and whether it is one of our own."""
    here = "{}.{}.{} at {}".format(*sys.version_info[:3], sys.executable)
    if sys.version_info < LEAST:
        cure = "install Python 3.11 to 3.13, then: make run PYTHON=/path/to/python3.11"
        yield wrong("Python", here, f"the desk is written for {LEAST[0]}.{LEAST[1]} or newer", cure)
    else:
        yield fine("Python", here)
    if sys.prefix == sys.base_prefix and not os.path.exists("/.dockerenv"):
        why = "packages of other programs may get in the way"
        yield note("Environment", "this is no virtual environment", why, ".venv/bin/python -m upkeep doctor")
    else:
        yield fine("Environment", sys.prefix)


def packages() -> Iterator[Finding]:
    """Each package that requirements.txt names: there, and of that version."""
    pins = pinned(ROOT / "requirements.txt")
    missing, other = [], []  # type: List[str], List[str]
    for name, version in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        module = MODULES.get(name, name.replace("-", "_"))
        if importlib.util.find_spec(module) is None:
            missing.append(name)
        elif found.split("+")[0] != version:
            other.append(f"{name} {found} (tested with {version})")
    for name in missing:
        yield wrong(f"Package {name}", "is not installed", "the desk needs it", INSTALL)
    if other:
        yield note("Packages", "other versions: " + ", ".join(other), "nobody has tested these together", INSTALL)
    if not missing:
        yield fine("Packages", f"all {len(pins)} of requirements.txt are there")


def pinned(path: Path) -> List[Tuple[str, str]]:  # noqa: UP006
    """Name and version of each line that pins one."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(one.group(1), one.group(2)) for one in map(_PIN.match, lines) if one]


def tools() -> Iterator[Finding]:
    """Programs that only the tests need."""
    if not any(map(shutil.which, BROWSERS)):
        why, cure = "browser tests are skipped without one", "apt install chromium   (for tests only)"
        yield note("Chromium", "none was found", why, cure)
    else:
        yield fine("Chromium", "found, for tests")
    if not (shutil.which("postgres") or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))):
        why, cure = "its tests are skipped without one", "apt install postgresql   (for tests only)"
        yield note("PostgreSQL server", "none was found", why, cure)
    else:
        yield fine("PostgreSQL server", "found, for tests")


def clock() -> Iterator[Finding]:
    """No clock of another machine is asked: that would take a network."""
    why = "E*TRADE refuses a signature that is five minutes off"
    yield note("Clock", "not compared with any other: this doctor asks no network", why, "timedatectl status")
