"""The house as a drawing, made from the imports themselves: `python -m docs._house` writes docs/images/house.svg.

Each floor of `tests/test_architecture.py` is a row, each room a box; a line goes from a room to each room below that it
uses, but for the words, which all use. `--check` says whether the drawing is the one of today.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "images" / "house.svg"
NAMES = ("words", "thought", "edges", "work", "assembly", "doors")
_IMPORTED = re.compile(r"^[ \t]*(?:from|import) ([a-z_]\w*)", re.M)
WIDTH, FLOOR, BOX, GAP, LEFT = 1180, 118, 46, 12, 92


def rooms() -> dict[str, int]:
    """The lines of code in each room there is, by its name."""
    from tests.test_architecture import module_of, room_of, sources

    sizes: dict[str, int] = defaultdict(int)
    for path in sources():
        sizes[room_of(module_of(path))] += len(path.read_text(encoding="utf-8").splitlines())
    return dict(sizes)


def uses() -> set[tuple[str, str]]:
    """Which room uses which, one floor or more below it; the words are used by all, and left out."""
    from tests.test_architecture import FLOOR, module_of, room_of, sources

    found = set()
    for path in sources():
        here = room_of(module_of(path))
        used = _IMPORTED.findall(path.read_text(encoding="utf-8"))
        found |= {(here, there) for there in used if 0 < FLOOR.get(there, 99) < FLOOR[here]}
    return found


def places(sizes: dict[str, int]) -> dict[str, tuple[int, int, int]]:
    """Where each room stands: left edge, top edge, width."""
    from tests.test_architecture import FLOORS

    found = {}
    for number, names in enumerate(FLOORS):
        here = sorted(name for name in names if name in sizes)
        widths = [max(66, 8 * len(name) + 16) for name in here]
        step = (WIDTH - LEFT - GAP - sum(widths)) / max(len(here), 1)
        left = LEFT + step / 2
        for name, width in zip(here, widths, strict=True):
            found[name] = (round(left), (len(FLOORS) - 1 - number) * FLOOR + 28, width)
            left += width + step
    return found


def drawing() -> str:
    """The whole picture as SVG, the same for the same code. Its colours follow the reader's theme."""
    sizes = rooms()
    stand, lines = places(sizes), []
    height = len(NAMES) * FLOOR
    for number, name in enumerate(reversed(NAMES)):
        top = number * FLOOR
        lines.append(f'<rect class="f{number % 2}" x="0" y="{top}" width="{WIDTH}" height="{FLOOR}"/>')
        lines.append(f'<text class="n" x="14" y="{top + FLOOR / 2:g}">{len(NAMES) - 1 - number}  {name}</text>')
    for here, there in sorted(uses()):
        (x, y, w), (u, v, z) = stand[here], stand[there]
        lines.append(
            f'<path d="M{x + w // 2} {y + BOX}C{x + w // 2} {y + 90} {u + z // 2} {v - 44} {u + z // 2} {v}"/>'
        )
    for name, (x, y, w) in sorted(stand.items()):
        size = f"{sizes[name] / 1000:.1f}k" if sizes[name] >= 1000 else f"{round(sizes[name], -2) or 100}"
        lines.append(f'<rect class="b" x="{x}" y="{y}" width="{w}" height="{BOX}" rx="6"/>')
        lines.append(f'<text x="{x + w // 2}" y="{y + 20}">{escape(name)}</text>')
        lines.append(f'<text class="s" x="{x + w // 2}" y="{y + 36}">{size} lines</text>')
    style = (
        "text{font:13px system-ui,sans-serif;text-anchor:middle;fill:#1d2733}.s{font-size:10px;fill:#5b6b7c}"
        ".n{text-anchor:start;font-weight:600}.b{fill:#fff;stroke:#8797a8}.f0{fill:#f3f6fa}.f1{fill:#e9eef5}"
        "path{fill:none;stroke:#5b7aa8;stroke-opacity:.28}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf7}.s{fill:#9fb0c3}.b{fill:#16233a;stroke:#45597a}"
        ".f0{fill:#0d1524}.f1{fill:#111c2f}path{stroke:#8fb2ea;stroke-opacity:.3}}"
    )
    body = "\n".join(lines)
    title = "The house: a room uses rooms on its own floor and below, and none above"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n<title>{title}</title>\n'
        f"<style>{style}</style>\n{body}\n</svg>\n"
    )


def shape(text: str) -> list[str]:
    """What of a drawing must be that of today: rooms and lines; the counts of code lines may lag behind."""
    return [row for row in text.splitlines() if 'class="s"' not in row]


def main(arguments: list[str]) -> int:
    """0 where it was written, or with --check is the one of today."""
    made = drawing()
    if "--check" in arguments:
        kept = DRAWING.read_text(encoding="utf-8") if DRAWING.exists() else ""
        if shape(kept) != shape(made):
            print("docs/images/house.svg is not the house of today: python -m docs._house", file=sys.stderr)
            return 1
        return 0
    DRAWING.write_text(made, encoding="utf-8")
    print(f"{DRAWING.relative_to(ROOT)}: {len(rooms())} rooms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
