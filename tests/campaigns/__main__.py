"""`python -m tests.campaigns [names]`: run the campaigns, write docs/evidence/, and fail where one found something."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.campaigns import (
    adopted,
    candles,
    clicks,
    confirming,
    crashes,
    day,
    etrade_bodies,
    etrade_crashes,
    etrade_week,
    honesty,
    learning,
    ledger_writers,
    notices,
    regime,
    soak,
    spread,
    stateful,
)

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"
CAMPAIGNS = {
    "candles": candles.run,
    "ledger_writers": ledger_writers.run,
    "crashes": crashes.run,
    "stateful": stateful.run,
    "day": day.run,
    "clicks": clicks.run,
    "etrade_bodies": etrade_bodies.run,
    "etrade_crashes": etrade_crashes.run,
    "etrade_week": etrade_week.run,
    "honesty": honesty.run,
    "learning": learning.run,
    "confirming": confirming.run,
    "notices": notices.run,
    "adopted": adopted.run,
    "soak": soak.run,
    "regime": regime.run,
    "spread": spread.run,
}


def main(names: list[str]) -> int:
    """1 where a campaign found something."""
    if unknown := [name for name in names if name not in CAMPAIGNS]:
        print(f"no campaign is called {unknown[0]!r}: there are {', '.join(CAMPAIGNS)}", file=sys.stderr)
        return 2
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    found = 0
    for name in names or CAMPAIGNS:
        begin = time.perf_counter()
        sound = CAMPAIGNS[name](EVIDENCE / f"{name}.md")
        verdict = "nothing found" if sound else "FOUND SOMETHING"
        print(f"{name}: {verdict}, {time.perf_counter() - begin:.0f} s, docs/evidence/{name}.md", flush=True)
        found |= not sound
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
