"""The tutorial as a program: every bold word of docs/tutorial.md is pressed, filled in or looked for, in its order.

    Press **X**   Choose **X**   Tick **X**   Go to **X**   Write `v` into **X**   close the dialog

and any other bold word must be on the screen. An ellipsis at a word's end stands for whatever follows. Code blocks are
given to `shell`, pictures to `picture` at the moment they show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.conftest import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.md"
BEGINS, ENDS = "## 1. ", "## Where to go"
PATIENCE_MS = 150_000  # a strategy is asked when the next minute has closed
_STEP = re.compile(
    r"^```\w*\n(?P<shell>.*?)^```$"
    r"|!\[[^\]]*\]\(images/(?P<picture>[\w.-]+)\)"
    r"|\b[Pp]ress\s+\*\*(?P<press>.+?)\*\*"
    r"|\b[Cc]hoose\s+\*\*(?P<choose>.+?)\*\*"
    r"|\b[Tt]ick\s+\*\*(?P<tick>.+?)\*\*"
    r"|\b[Gg]o\s+to\s+\*\*(?P<go>.+?)\*\*"
    r"|`(?P<value>[^`\n]+)`\s+into\s+\*\*(?P<write>.+?)\*\*"
    r"|(?P<close>\b[Cc]lose\s+the\s+dialog\b)"
    r"|\*\*(?P<see>.+?)\*\*",
    re.M | re.S,
)


@dataclass(frozen=True, slots=True)
class Step:
    """What a reader does, or sees: `verb` one of shell picture press choose tick go write close see, in `line`."""

    verb: str
    what: str
    value: str = ""
    line: int = 0

    @property
    def words(self) -> re.Pattern[str]:
        """The name on the screen; exact, but for what an ellipsis leaves open."""
        text = re.escape(self.what.rstrip("…")).replace(r"\ ", r"\s+")
        return re.compile(rf"^\W*{text}" + ("" if self.what.endswith("…") else r"\W*$"))


def steps(text: str) -> list[Step]:
    """Every step from the first chapter to the last, in its order."""
    start, end = text.index(BEGINS), text.index(ENDS)
    found = []
    for match in _STEP.finditer(text, start, end):
        told = {name: value for name, value in match.groupdict().items() if value is not None}
        value = told.pop("value", "")
        [(verb, what)] = told.items()
        words = what if verb == "shell" else " ".join(what.split())
        found.append(Step(verb, words, value, text.count("\n", 0, match.start()) + 1))
    return found


def walk(
    page: Page,
    *,
    shell: Callable[[str], None],
    picture: Callable[[str], None],
    text: str | None = None,
) -> int:
    """Do as the tutorial says, from the page of a desk that has just started; how many steps that were. The error of a
    step that cannot be done names its line."""
    done = 0
    for step in steps(text if text is not None else TUTORIAL.read_text(encoding="utf-8")):
        try:
            if step.verb == "shell":
                shell(step.what)
            elif step.verb == "picture":
                picture(step.what)
            else:
                _DO[step.verb](page, step)
        except Exception as error:
            raise AssertionError(f"{TUTORIAL.name}, line {step.line}: {step.verb} {step.what!r}: {error}") from error
        done += 1
    return done


def settled(page: Page) -> None:
    """Nothing on the page is being worked on, and the chart, where there is one, is drawn."""
    page.wait_for_function("document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_function("[...document.querySelectorAll('.dc-plot')].every(one => one._fullLayout)")


def _front(page: Page) -> Page | Locator:
    """The dialog where one is open: what lies beneath it cannot be reached."""
    dialog = page.get_by_role("dialog").locator("visible=true")
    return dialog.last if dialog.count() else page


def _named(page: Page, roles: tuple[str, ...], step: Step) -> Locator:
    """What bears that name; a dialog may be about to open, or to go."""
    for _ in range(200):
        for where in (_front(page), page):
            for role in roles:
                found = where.get_by_role(role, name=step.words).locator("visible=true")  # type: ignore[arg-type]
                if found.count():
                    return found.first
        page.wait_for_timeout(100)
    raise AssertionError(f"nothing on the page is called so: {', '.join(roles)}")


def _press(page: Page, step: Step) -> None:
    button = _named(page, ("button", "tab", "link"), step)
    expect(button).to_be_enabled(timeout=PATIENCE_MS)
    button.click(timeout=PATIENCE_MS)
    if button.get_attribute("role") == "tab":
        settled(page)
        button.evaluate("tab => tab.scrollIntoView({block: 'start'})")


def _choose(page: Page, step: Step) -> None:
    _named(page, ("radio", "tab", "button", "option"), step).click()
    settled(page)


def _tick(page: Page, step: Step) -> None:
    _front(page).get_by_text(step.words).locator("visible=true").first.click()


def _go(page: Page, step: Step) -> None:
    _named(page, ("link",), step).click()
    settled(page)


def _write(page: Page, step: Step) -> None:
    field = _named(page, ("spinbutton", "textbox", "combobox"), step)
    field.fill(step.value)
    field.press("Enter")
    field.blur()  # a list that is still open hides all else
    settled(page)


def _close(page: Page, step: Step) -> None:
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog").locator("visible=true")).to_have_count(0)


def _see(page: Page, step: Step) -> None:
    """In the page, or in a table: those are drawn, and tell their text to nobody but who asks them for it."""
    words = re.compile(re.escape(step.what.rstrip("…")).replace(r"\ ", r"\s+"))
    shown = page.get_by_text(words).locator("visible=true")
    in_table = page.get_by_test_id("stDataFrame").filter(has_text=words).locator("visible=true")
    expect(shown.or_(in_table).first).to_be_visible(timeout=PATIENCE_MS)


_DO: dict[str, Callable[[Page, Step], None]] = {
    "press": _press,
    "choose": _choose,
    "tick": _tick,
    "go": _go,
    "write": _write,
    "close": _close,
    "see": _see,
}
PICTURES = tuple(step.what for step in steps(TUTORIAL.read_text(encoding="utf-8")) if step.verb == "picture")


def folder() -> Path:
    """Where the pictures of the documents lie."""
    return ROOT / "docs" / "images"
