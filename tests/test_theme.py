"""The colours of the desk: read by everyone, told apart by every eye, and kept in one place."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.colour_sight import SIGHTS, apart, contrast, lab, seen
from tests.conftest import ROOT
from ui import palettes, theme
from ui.first_paint import head
from ui.palettes import PALETTES
from ui.theme import GROUNDS, INKS, LINE_RATIO, LINES, READ_ON, SEEN_ON, TEXT_RATIO, Ink, Name

THEMES: tuple[Name, ...] = ("dark", "light")
UP_DOWN_APART = 20.0  # CIEDE2000; red and green come to about 11 for those who cannot tell them apart
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b|rgba\(\s*\d+")


def distance(one: str, other: str, sight: str = "") -> float:
    return apart(lab(seen(one, sight)), lab(seen(other, sight)))


def test_the_measures_agree_with_published_values() -> None:
    """Pairs of Sharma, Wu and Dalal's table 1, and WCAG's two ends."""
    assert apart((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485)) == pytest.approx(2.0425, abs=1e-4)
    assert apart((50.0, 2.5, 0.0), (73.0, 25.0, -18.0)) == pytest.approx(27.1492, abs=1e-4)
    assert apart((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619)) == pytest.approx(2.0373, abs=1e-4)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", THEMES)
def test_everything_written_is_read_and_every_edge_is_seen(name: Name) -> None:
    for least, pairs in ((TEXT_RATIO, READ_ON), (LINE_RATIO, SEEN_ON)):
        for ink, grounds in pairs:
            for ground in grounds:
                ratio = contrast(INKS[ink].on(name), INKS[ground].on(name))
                assert ratio >= least, f"{name}: {ink} on {ground} is {ratio:.2f} : 1, and needs {least}"


@pytest.mark.parametrize("name", THEMES)
def test_up_down_and_every_line_are_read_on_every_ground(name: Name) -> None:
    for ink in (*palettes.INKS, *LINES):
        for ground in (*GROUNDS, "plot"):
            assert contrast(ink.on(name), INKS[ground].on(name)) >= TEXT_RATIO, (ink, ground)
    for ink in palettes.INKS:  # the buttons to buy and to sell carry the ground's colour as their writing
        assert contrast(INKS["ground"].on(name), ink.on(name)) >= TEXT_RATIO


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("sight", ["", *SIGHTS])
def test_up_and_down_are_told_apart_by_every_eye(sight: str, name: Name) -> None:
    worn = PALETTES[palettes.DEFAULT].worn(name)

    assert distance(worn.up, worn.down, sight) > UP_DOWN_APART


def test_red_and_green_are_not_and_their_choice_says_so() -> None:
    worn = PALETTES["green-red"].worn("dark")

    assert min(distance(worn.up, worn.down, sight) for sight in SIGHTS) < UP_DOWN_APART
    assert all(
        "difference" in PALETTES[one].label or "warning" in PALETTES[one].label for one in ("green-red", "red-green")
    )


def test_streamlit_wears_the_same_colours() -> None:
    told: dict[str, Any] = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["theme"]
    assert "base" not in told, "the reader's own system decides"
    palette = PALETTES[palettes.DEFAULT]
    for name in THEMES:
        expected = {
            "primaryColor": "accent",
            "backgroundColor": "ground",
            "secondaryBackgroundColor": "raised",
            "textColor": "text",
            "linkColor": "accent",
            "borderColor": "line",
            "redTextColor": "bad",
            "yellowTextColor": "warn",
            "blueTextColor": "info",
            "greenTextColor": "good",
            "grayTextColor": "muted",
        }
        found = {key: value for key, value in told[name].items() if isinstance(value, str)}
        assert found == {key: INKS[ink].on(name) for key, ink in expected.items()} | {
            "orangeTextColor": palette.worn(name).down
        }
        assert told[name]["sidebar"] == {
            "backgroundColor": INKS["surface"].on(name),
            "secondaryBackgroundColor": INKS["raised"].on(name),
        }


def test_no_colour_stands_outside_the_theme() -> None:
    kept = {"theme.py", "palettes.py"}
    places = [path for kind in ("py", "css", "js", "html") for path in (ROOT / "ui").rglob(f"*.{kind}")]
    found = {
        path.name: COLOUR.findall(text)
        for path in places
        if path.name not in kept and COLOUR.search(text := path.read_text(encoding="utf-8"))
    }
    assert found == {
        "lines.css": ["rgba(0"],  # a shadow
        "lines.js": [INKS["text"].dark],  # repainted by the function around it
        "charts.py": ["rgba(0"],  # nothing at all
        "training_charts.py": ["rgba(0"],
    }


def test_every_name_that_a_style_sheet_asks_for_is_kept() -> None:
    asked = {
        name
        for kind in ("py", "css", "js", "html")
        for path in (ROOT / "ui").rglob(f"*.{kind}")
        for name in re.findall(r"var\(--desk-([a-z-]+)\)", path.read_text(encoding="utf-8"))
    }

    assert asked - set(INKS) == set()


def test_each_dark_colour_has_one_light_one() -> None:
    table = theme.repaint(palettes.INKS)

    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for pair in table.items() for colour in pair)
    with pytest.raises(ValueError, match="two colours"):
        theme.repaint((Ink(INKS["text"].dark, "#000000"),))


def test_a_page_begins_with_the_ground_it_will_have() -> None:
    begun = head().decode()

    assert f"--desk-ground: light-dark({INKS['ground'].light}, {INKS['ground'].dark})" in begun
    assert begun.index("--desk-ground:") < begun.index("html, body { background: var(--desk-ground)")


def test_a_sheet_outside_the_page_has_its_values_written_in() -> None:
    assert theme.plain("a { color: var(--desk-text); }", "light") == f"a {{ color: {INKS['text'].light}; }}"
