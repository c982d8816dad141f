"""Imports only look down, floor by floor, and each edge has one keeper."""

from __future__ import annotations

import ast
import subprocess
import sys
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
    {"trading_bot", "desk", "copytrading", "research", "ml_pipeline", "notifier", "notices", "simulator"},
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


IDS = [str(path.relative_to(ROOT)) for path in sources()]


@pytest.mark.parametrize("path", sources(), ids=IDS)
def test_a_file_imports_its_own_floor_or_lower(path: Path) -> None:
    here = room_of(module_of(path))
    assert here in FLOOR, f"{here} stands on no floor: give it one in this test and in docs/architecture.md"

    above = [name for name in imports_of(path) if FLOOR.get(room_of(name), -1) > FLOOR[here]]

    assert above == []


@pytest.mark.parametrize("path", sources(), ids=IDS)
def test_only_bootstrap_imports_a_concrete_part(path: Path) -> None:
    here = module_of(path)
    if here == "bootstrap":
        return

    concrete = [
        name
        for name in imports_of(path)
        if room_of(name) in DRAWERS
        and name.count(".") == 1
        and (ROOT / f"{name.replace('.', '/')}.py").exists()
        and name.split(".")[1] not in SERVE_THE_DRAWER
        and room_of(name) != room_of(here)
    ]

    assert concrete == []


@pytest.mark.parametrize("path", sources(), ids=IDS)
def test_thought_knows_no_network_no_screen_and_no_database(path: Path) -> None:
    if FLOOR[room_of(module_of(path))] > 1:
        return

    assert [name for name in imports_of(path) if room_of(name) in BARRED_BELOW] == []


def calls_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", sources(), ids=IDS)
def test_the_wall_clock_is_read_in_one_file(path: Path) -> None:
    if module_of(path) == "domain.clock":
        return
    readers = {
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "time.time",
        "time.monotonic",
    }
    readers |= {
        "pd.Timestamp.now",
        "pd.Timestamp.utcnow",
        "Timestamp.now",
        "time.time_ns",
        "datetime.datetime.now",
    }

    assert calls_in(path) & readers == set()


@pytest.mark.parametrize("path", sources(), ids=IDS)
def test_the_environment_is_read_in_one_file(path: Path) -> None:
    if module_of(path) == "settings":
        return
    text = path.read_text(encoding="utf-8")

    assert "os.environ" not in text
    assert "getenv" not in text


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
