"""A real training as a visitor meets it: from the form to the result, with a reload and a cancel on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from learning.planted import planted
from tests.browser.conftest import Server, start_server

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]
PATIENT_MS = 90_000


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Server]:
    """A dashboard whose owner has candle files in which there is something to find."""
    files = tmp_path / "data" / "ohlcv"
    files.mkdir(parents=True)
    for symbol, candles in planted("reversal", q=0.9, symbols=2, bars=900, seed=3).frames.items():
        candles.to_csv(files / f"{symbol}_1h.csv")
    server = start_server(tmp_path / "data", MODELS_DIR=str(tmp_path / "models"))
    yield server
    server.stop()


def put(page: Page, label: str, value: object) -> None:
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(str(value))
    field.press("Enter")


def retrain(page: Page, epochs: int) -> None:
    put(page, "Epochs", epochs)
    expect(page.locator(".st-key-tr_words")).to_contain_text(f"{epochs} epochs")
    page.get_by_role("button", name="Retrain model").click()


def epochs_drawn(page: Page) -> None:
    expect(page.locator(".df .scatterlayer .trace").first).to_be_visible(timeout=PATIENT_MS)


def drawn(page: Page) -> tuple[int, int]:
    """How often the curve was drawn anew, and how often it was drawn at all."""
    told = page.locator(".df").evaluate("el => [el.dataset.mounts, el.dataset.updates].map(Number)")
    return told[0], told[1]


def test_a_training_outlives_a_reload_is_cancelled_and_another_becomes_a_model(page: Page, school: Server) -> None:
    page.goto(f"{school.url}/training")
    expect(page.get_by_role("button", name="Retrain model")).to_be_visible(timeout=PATIENT_MS)
    page.get_by_text("Direction", exact=True).click()
    page.get_by_text("Advanced", exact=True).click()
    put(page, "Patience, epochs", 900)
    put(page, "Bars until the answer", 1)
    retrain(page, 900)
    expect(page).to_have_url(re.compile("job="))
    first = page.url
    epochs_drawn(page)

    page.reload()
    epochs_drawn(page)
    mounts, updates = drawn(page)
    page.wait_for_function(f"document.querySelector('.df').dataset.updates >= {updates + 2}")
    assert drawn(page)[0] == mounts, "each epoch is drawn in place"
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("It was cancelled, so there is no model.")).to_be_visible(timeout=PATIENT_MS)
    expect(page.get_by_role("button", name=re.compile("^Resume after epoch"))).to_be_visible()

    page.get_by_text("Train again or another one").click()
    retrain(page, 2)
    expect(page.get_by_text("Saved as pattern_nn_v1")).to_be_visible(timeout=PATIENT_MS)
    expect(page.get_by_text("It forecasts: is the close 1 bar on above the next open?")).to_be_visible()
    expect(page.get_by_role("button", name="Download model card")).to_be_visible()
    assert page.url != first
