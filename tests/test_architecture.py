"""Imports only look down, floor by floor, and each edge has one keeper."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLOORS = [
    {"domain"},
    {
        "indicators",
        "patterns",
        "risk_manager",
        "strategies",
        "streams",
        "filters",
        "backtest",
        "backtester",
        "learning",
    },
    {
        "etrade_client",
        "etrade",
        "feeds",
        "brokers",
        "alerts",
        "model_manager",
        "performance_utils",
        "settings",
        "kept_keys",
    },
    {"trading_bot", "desk", "copytrading", "research", "ml_pipeline", "notifier", "notices", "simulator", "upkeep"},
    {"bootstrap"},
    {"streamlit_dashboard", "pages", "ui", "api"},
]
FLOOR = {name: at for at, names in enumerate(FLOORS) for name in names}
DRAWERS = {"strategies", "filters", "feeds", "brokers", "alerts"}
SERVE_THE_DRAWER = {"base", "board", "keeper", "market", "store"}
BARRED_BELOW = {"streamlit", "aiohttp", "requests", "ccxt", "sqlalchemy", "asyncio"}


def sources() -> list[Path]:
    roots = list(ROOT.glob("*.py"))
    rooms = [p for name in FLOOR if (ROOT / name).is_dir() for p in (ROOT / name).rglob("*.py")]
    return sorted(roots + rooms)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path) -> list[str]:
    """Every module named by an import, those inside functions too. The main() of a runnable module is a door, on the
    highest floor: what it reaches for is its own affair."""
    names: list[str] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "main")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def room_of(module: str) -> str:
    return module.split(".")[0]


def broken(rule: Callable[[Path], list[str]]) -> dict[str, list[str]]:
    """The files that break a rule, each with how. One test a rule: a thousand tests of a millisecond cost a minute."""
    found = {str(path.relative_to(ROOT)): rule(path) for path in sources()}
    return {path: how for path, how in found.items() if how}


def test_a_file_imports_its_own_floor_or_lower() -> None:
    homeless = {room_of(module_of(path)) for path in sources()} - set(FLOOR)
    assert homeless == set(), f"{homeless} stand on no floor: give each one in this test and in docs/architecture.md"

    def above(path: Path) -> list[str]:
        here = FLOOR[room_of(module_of(path))]
        return [name for name in imports_of(path) if FLOOR.get(room_of(name), -1) > here]

    assert broken(above) == {}


def concrete_parts(path: Path) -> list[str]:
    here = module_of(path)
    if here == "bootstrap":
        return []
    return [
        name
        for name in imports_of(path)
        if room_of(name) in DRAWERS
        and name.count(".") == 1
        and (ROOT / f"{name.replace('.', '/')}.py").exists()
        and name.split(".")[1] not in SERVE_THE_DRAWER
        and room_of(name) != room_of(here)
    ]


def test_only_bootstrap_imports_a_concrete_part() -> None:
    assert broken(concrete_parts) == {}


def test_thought_knows_no_network_no_screen_and_no_database() -> None:
    def barred(path: Path) -> list[str]:
        if FLOOR[room_of(module_of(path))] > 1:
            return []
        return [name for name in imports_of(path) if room_of(name) in BARRED_BELOW]

    assert broken(barred) == {}


def calls_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


WALL_CLOCK = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.monotonic",
    "pd.Timestamp.now",
    "pd.Timestamp.utcnow",
    "Timestamp.now",
    "time.time_ns",
    "datetime.datetime.now",
}


def test_the_wall_clock_is_read_in_one_file() -> None:
    def readers(path: Path) -> list[str]:
        return [] if module_of(path) == "domain.clock" else sorted(calls_in(path) & WALL_CLOCK)

    assert broken(readers) == {}


def test_the_environment_is_read_in_one_file() -> None:
    def readers(path: Path) -> list[str]:
        text = "" if module_of(path) == "settings" else path.read_text(encoding="utf-8")
        return [name for name in ("os.environ", "getenv") if name in text]

    assert broken(readers) == {}


@pytest.mark.parametrize("path", sorted((ROOT / "pages").glob("*.py")), ids=lambda p: p.stem)
def test_pages_open_ask_call_and_draw(path: Path) -> None:
    """No frame algebra, no SQL, no broker: a page imports Streamlit and what is above the edges."""
    rooms = {room_of(name) for name in imports_of(path)}

    assert rooms <= {"streamlit", "ui", "domain", "performance_utils", "bootstrap", "indicators", "patterns"}
    assert "open_page" in calls_in(path)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_html_is_never_let_through_unsafely() -> None:
    assert [p.name for p in sources() if "unsafe_allow_html" in p.read_text(encoding="utf-8")] == []


def test_light_imports_stay_light() -> None:
    heavy = "('torch', 'yfinance', 'ccxt')"
    code = f"import sys, indicators, patterns, feeds.market; print([m for m in {heavy} if m in sys.modules])"

    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"
