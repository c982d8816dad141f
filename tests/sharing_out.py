"""What the processes of a test run share out among them: whole files, so that what a file sets up is set up once.

The marks `xdist_group` are not asked: xdist 3.8 writes them into an attribute that pytest 9.2 does not read, and who
shares out knows the tests by their names alone.
"""

from __future__ import annotations

import re

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The longest, in the order in which they begin; all others are short enough for any order.
FIRST = (
    "browser",
    "browser on the live page",
    "test_etrade_trading.py",
    "test_adopting.py",
    "test_mute_broker.py",
    "test_engine.py",
    "test_crashes.py",
    "test_desk_machine.py",
    "test_learning_leaks.py",
    "test_ledger.py",
    "test_simulator.py",
    "postgres",
    "test_etrade_sign_in.py",
    "test_campaigns.py",
    "test_live_check.py",
    "test_backtest_charts.py",
    "test_ml_pipeline.py",
    "test_strategies.py",
    "test_sweep.py",
    "test_training_page.py",
    "test_trading_bot.py",
)
ON_THE_LIVE_PAGE = ("test_desk_bar.py", "test_heard.py", "test_live_dashboard.py", "test_look.py", "test_orders.py")
_RANKS = {unit: number for number, unit in enumerate(FIRST)}


def unit(nodeid: str) -> str:
    """What runs in one process: a file; half of what needs a Chromium; all that needs a PostgreSQL server."""
    path = nodeid.partition("::")[0]
    if "tests/browser/" in path:
        return "browser on the live page" if path.endswith(ON_THE_LIVE_PAGE) else "browser"
    if path.endswith("test_postgres.py") or re.search(r"\[(.*-)?postgres\b", nodeid):
        return "postgres"
    return path.rpartition("/")[2]


def rank(nodeid: str) -> tuple[int, str]:
    """Units that begin earlier come first."""
    name = unit(nodeid)
    return _RANKS.get(name, len(FIRST)), name


class ByUnit(LoadScopeScheduling):
    """Whole units, in the order in which the tests were collected."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
