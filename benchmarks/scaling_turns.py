"""One desk of so many symbols and strategies, in a process of its own: what a bar and what a quiet turn cost it.

python -m benchmarks.scaling_turns SYMBOLS EACH BARS [DATABASE]     EACH: symbols a strategy; JSON on the last line
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import bot_orders
from benchmarks.bot_orders import World, _held_bytes
from tests.trading import PaperDesk

RISES = 2
QUIET = 20
ASKED_NEVER = 86_400.0


class Counted(World):
    """A world whose bars are weighed as a whole: from the closing quotes until what was ordered has filled."""

    def over(self, database: str) -> None:
        """Its ledger in this database instead of a file."""
        self.desk = PaperDesk(
            self.folder,
            accounts="main:margin:10000000",
            clock=self.clock,
            prices=bot_orders.Feed,
            bars=self.closed,
            database_url=database,
        )

    async def _bar(self, bar: int, paced: bool) -> None:
        begin, asked = time.process_time(), len(self.found["statements"])
        await super()._bar(bar, paced)
        self.found["bar"].append(time.process_time() - begin)
        self.found["asked"].append(len(self.found["statements"]) - asked)
        if bar == self.bars - 1:
            await self._quiet()

    async def _quiet(self) -> None:
        """Turns in which nothing happens: with new prices, and between them."""
        engine = self.desk.engine
        assert engine is not None
        for name, poll_s in (("priced", 0.0), ("unpriced", ASKED_NEVER)):
            object.__setattr__(engine.parts, "poll_s", poll_s)
            for _ in range(QUIET):
                self.clock.advance(seconds=0.25)
                begin = time.process_time()
                await engine.turn()
                self.found[name].append(time.process_time() - begin)


def measured(symbols: int, each: int, bars: int, database: str = "") -> dict[str, Any]:
    """Seconds of processor time a bar and a turn, seconds until each decision and order stood, statements a bar, and
    what the process holds."""
    bot_orders.MOST_SYMBOLS = each
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        world = Counted(Path(folder), symbols, RISES, bars)
        if database:
            world.over(database)

        def count(*asked: Any) -> None:
            world.found["statements"].append(0.0)

        sa.event.listen(sa.Engine, "before_cursor_execute", count)
        asyncio.run(world.live(False))
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
        found: dict[str, Any] = dict(world.found)
        frames = sum(int(one.memory_usage(deep=True).sum()) for one in world.frames.values())
        del found["statements"]
        return found | {"held": _held_bytes() - frames}


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:4]), *sys.argv[4:5])))
