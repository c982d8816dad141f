"""`python -m benchmarks [names] [--quick] [--out FILE]`: measure; each section goes into RESULTS.md at once."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks import report

MEASUREMENTS = {
    "live": "benchmarks.live",
    "browser": "benchmarks.browser",
    "cold": "benchmarks.cold_start",
    "fetch": "benchmarks.fetch",
    "store": "benchmarks.store",
    "indicators": "benchmarks.indicator_speed",
    "bot": "benchmarks.bot",
    "bot_orders": "benchmarks.bot_orders",
    "scaling": "benchmarks.scaling",
    "backtests": "benchmarks.backtests",
    "learning": "benchmarks.learning",
    "rerun": "benchmarks.rerun",
    "orders": "benchmarks.order_path",
    "etrade": "benchmarks.etrade_poll",
    "etrade_orders": "benchmarks.etrade_orders",
}
RESULTS = Path(__file__).parent / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 where a measurement could not be taken, the others are written all the same."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in MEASUREMENTS]:
        parser.error(f"no measurement is called {unknown[0]!r}: there are {', '.join(MEASUREMENTS)}")
    failed = 0
    for name in [n for n in MEASUREMENTS if n in (asked.names or MEASUREMENTS)]:
        print(f"{name} ...", flush=True)
        begin = time.perf_counter()
        try:
            section = importlib.import_module(MEASUREMENTS[name]).measure(asked.quick)
        except Exception as error:
            print(f"{name} could not be measured: {type(error).__name__}: {error}", file=sys.stderr)
            failed = 1
            continue
        report.write(asked.out, name, section, list(MEASUREMENTS))
        print(f"{section.text()}\n\n({time.perf_counter() - begin:.0f} s)\n", flush=True)
    print(f"written to {asked.out.name}" if not failed else "not everything could be measured", flush=True)
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed beside peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"all, or some of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write")
    return parser


def _stop(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)  # so that servers and folders are cleaned up


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    logging.disable(logging.WARNING)  # pages without a Streamlit server around them say so again and again
    sys.exit(main())
