"""The documents are held to the program: links and anchors, pictures, commands, flags, names, Python."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import yaml

from tests import pictures, tutorial
from tests.conftest import ROOT

DOCS = ROOT / "docs"
OURS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
GENERATED = ("decisions", "evidence")  # what was decided and found, as it stood then: no instructions
PRESENT = [path for path in OURS if path.parent.name not in GENERATED]
IDS = [str(path.relative_to(ROOT)) for path in OURS]
LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
NEW_FILE = r"^`(\w+)/(\w+)\.py`[^`\n]*\n(?:[^`\n]+\n)*\n```python"
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.M | re.S)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """Without code: what looks like a link there is none."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(path)))


def links(path: Path) -> list[tuple[str, str]]:
    """Whether a picture (`!`), and where to; other sites left out."""
    found = LINK.findall(prose(path)) + [("!", to) for to in re.findall(r'(?:src|srcset)="([^"]+)"', prose(path))]
    return [(mark, unquote(to)) for mark, to in found if not re.match(r"[a-z]+:", to)]


def anchors(path: Path) -> set[str]:
    """The headings as the site names them."""
    found: set[str] = set()
    for line in re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), flags=re.M):
        words = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", line)
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", words).strip().lower())
        found.add(next(name for name in (slug, *(f"{slug}_{n}" for n in range(1, 99))) if name not in found))
    return found


@pytest.mark.parametrize("path", OURS, ids=IDS)
def test_links_and_anchors_hold(path: Path) -> None:
    wrong = []
    for _, to in links(path):
        file, _, anchor = to.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(to)

    assert wrong == []


def test_every_file_of_ours_that_a_document_names_is_there() -> None:
    """`tests/test_gates.py`, `domain/clock.py`: but for the files that examples tell a reader to write."""
    examples = {f"{drawer}/{name}.py" for path in PRESENT for drawer, name in re.findall(NEW_FILE, text_of(path), re.M)}
    named = {
        name
        for path in PRESENT
        for name in re.findall(r"`([a-z_]+/(?:\w+/)*\w+\.py)`", FENCE.sub("", text_of(path)))
        if (ROOT / name.partition("/")[0]).is_dir()
    }

    assert {name for name in named - examples - {"feeds/yours.py"} if not (ROOT / name).exists()} == set()


# The site


class _Loader(yaml.SafeLoader):
    """What is named in mkdocs.yml by a tag of Python's is of no interest here."""


def menu() -> list[str]:
    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        for one in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from pages(one)

    return list(pages(yaml.load(text_of(ROOT / "mkdocs.yml"), _Loader)["nav"]))


def test_every_document_is_in_the_menu_once() -> None:
    assert sorted(menu()) == sorted(str(path.relative_to(DOCS)) for path in OURS if path.is_relative_to(DOCS))


def test_the_site_asks_no_other_host() -> None:
    told = yaml.load(text_of(ROOT / "mkdocs.yml"), _Loader)

    assert told["theme"]["font"] is False
    assert told["strict"] is True
    assert "analytics" not in told.get("extra", {})
    assert not {"extra_javascript", "extra_css", "hooks"} & set(told)


@pytest.mark.long
def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        check=True,
    )

    fetched = re.compile(r"<(?:link|script|img|source|iframe)[^>]+(?:href|src|srcset)=\"?(?:https?:)?//[^\"\s>]+", re.I)
    found = {hit for page in (tmp_path / "site").rglob("*.html") for hit in fetched.findall(text_of(page))}
    assert [hit for hit in found if "rel=canonical" not in hit.replace('"', "")] == []


# Pictures


def test_every_picture_is_there_and_is_used() -> None:
    used = {(path.parent / to).resolve() for path in OURS for mark, to in links(path) if mark}
    kept = set((DOCS / "images").iterdir())

    assert {path.name for path in used - kept} == set()
    assert {path.name for path in kept - used} == set()


def test_the_pictures_are_those_that_the_program_takes_and_small() -> None:
    kept = sorted((DOCS / "images").iterdir())

    assert [path.name for path in kept if path.suffix == ".webp"] == pictures.expected()
    assert {path.name for path in kept if path.suffix != ".webp"} == {"house.svg"}
    assert sum(path.stat().st_size for path in kept) <= pictures.MOST_BYTES


def test_every_tab_of_the_settings_is_pictured_and_explained() -> None:
    """As the page itself names them: the list in pages/settings.py and the names that its parts bring along."""
    from ui import backups, own_account, people

    [listed] = [
        node.value
        for node in ast.walk(ast.parse(text_of(ROOT / "pages" / "settings.py")))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "names"
    ]
    tabs = [*ast.literal_eval(listed), backups.TAB, people.TAB, own_account.TAB]
    headings = re.findall(r"^## (.+)$", text_of(DOCS / "pages" / "settings.md"), flags=re.M)

    assert list(pictures.TABS) == tabs
    assert [heading.replace("\\", "") for heading in headings] == tabs


def test_every_page_of_the_menu_is_pictured_and_explained() -> None:
    from ui.session import PAGES

    told = text_of(DOCS / "pages" / "index.md")

    assert [page["title"] for page in PAGES if f"[{page['title']}](" not in told] == []


# The house


def test_the_drawing_of_the_house_is_the_one_of_today() -> None:
    from docs import _house

    assert _house.shape(text_of(_house.DRAWING)) == _house.shape(_house.drawing())


# The tutorial


def test_the_tutorial_has_steps_of_every_kind_and_nothing_bold_is_left_out() -> None:
    text = text_of(tutorial.TUTORIAL)
    walked = tutorial.steps(text)
    inside = text[text.index(tutorial.BEGINS) : text.index(tutorial.ENDS)]
    bold = len(re.findall(r"\*\*.+?\*\*", FENCE.sub("", inside), flags=re.S))

    assert len([step for step in walked if step.verb not in ("shell", "picture", "close")]) == bold
    assert {step.verb for step in walked} == {"shell", "picture", "press", "choose", "go", "write", "see", "close"}


def test_the_tutorial_s_buttons_are_in_the_program() -> None:
    """Cheaply, for every run: a word that is pressed stands somewhere in the pages' code. The walk itself is long."""
    code = "\n".join(text_of(path) for folder in ("ui", "pages") for path in (ROOT / folder).rglob("*.[pj][ys]"))
    pressed = {
        step.what.rstrip("…") for step in tutorial.steps(text_of(tutorial.TUTORIAL)) if step.verb in ("press", "go")
    }

    assert {words for words in pressed if words not in code and words.partition(" ")[0] not in code} == set()


# Commands

PROGRAMS = {
    "backtester.py": "backtester",
    "trading_bot.py": "trading_bot",
    "ml_pipeline.py": "ml_pipeline",
    "notifier.py": "notifier",
    "desk.accounts": "desk.accounts",
    "simulator.etrade": "simulator.etrade",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A command line of a document, and where it stands."""

    words: str
    path: Path

    @property
    def program(self) -> str:
        """Which of ours it calls; '' where none."""
        return next((name for name in PROGRAMS if re.search(rf"(^|[ /]){re.escape(name)}( |$)", self.words)), "")


def commands(path: Path) -> list[Line]:
    """The lines of its shell blocks, without comments; a block without a language that begins with a program is one."""
    found = []
    for _, language, block in FENCE.findall(text_of(path)):
        lines = [re.sub(r"\s+#.*$| {3,}\S.*$", "", line).strip() for line in block.replace("\\\n", " ").splitlines()]
        if language in ("sh", "bash", "shell", "console") or (not language and any(map(_starts, lines))):
            found += [Line(line, path) for line in lines if _starts(line)]
    return found


def _starts(line: str) -> bool:
    return (
        re.match(r"([A-Z_]+=\S+ )*(python|make|docker|git|cd|open|pip|echo|source|df|streamlit|\.venv/bin/)\b", line)
        is not None
    )


def mentioned(path: Path) -> list[Line]:
    """Commands within sentences."""
    found = re.findall(r"`((?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:python|make) [^`]+)`", FENCE.sub("", text_of(path)))
    return [Line(" ".join(line.split()), path) for line in found]


EVERY = [line for path in PRESENT for line in [*commands(path), *mentioned(path)]]


def test_every_flag_in_the_documents_is_in_the_program_s_help(capsys: pytest.CaptureFixture[str]) -> None:
    @functools.cache
    def flags(program: str) -> set[str]:
        """As it tells them itself."""
        import backtest  # noqa: F401 - before a page puts pages/ first on the path
        import bootstrap  # noqa: F401

        with pytest.raises(SystemExit):
            importlib.import_module(PROGRAMS[program]).main(["--help"])
        return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))

    wrong = []
    for line in (one for one in EVERY if one.program):
        known = flags(line.program) | (flags("backtester.py") | {"--symbols"} if "--adopt" in line.words else set())
        wrong += [(flag, line.words) for flag in re.findall(r" (--[a-z][a-z-]+)", line.words) if flag not in known]

    assert wrong == []


def test_every_make_target_in_the_documents_is_in_the_makefile() -> None:
    known = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), flags=re.M))
    named = {word for line in EVERY for word in re.findall(r"\bmake ([a-z-]+)", line.words)}

    assert named - known == set()


# What becomes of each command line that stands in a block of its own. Who adds one says here how it is tried.
RUN = "run here"
FATES: dict[str, str] = {
    r"git clone .*|cd .*": "needs a repository that can be cloned; the rest is tried in the folder that is here",
    r"make run|source \.venv.*|python trading_bot\.py --(status|adopted)": "tests/browser/test_tutorial.py",
    r"(TRADING|ETRADE_ENVIRONMENT|DATA_SOURCE)=.* make run": "tests/browser/test_etrade.py starts the dashboard so",
    r".*make simulator|open http.*": "tests/test_simulator.py starts it as a process",
    r"make (test|lint|types|prove|bench|docs|pictures)": "what CI itself runs, or a person who has the hours",
    r"make demo.*|python -m simulator\.demo .*": "tests/test_demo.py",
    r"make owner": "tests/test_accounts.py: the same command with a terminal",
    r"make (backups?|restore)\b.*": "tests/test_backup.py, tests/test_restore.py",
    r"make doctor|python -m upkeep doctor": "tests/test_doctor.py",
    r"docker .*": "no container engine on a development machine; CI builds and starts the image",
    r".*python trading_bot\.py --live-check": "tests/test_live_check.py",
    r"python trading_bot\.py": "tests/test_trading_bot.py runs it as a process",
    r"python trading_bot\.py --(kill|re-arm)\b.*": "tests/test_trading_bot.py",
    r"python trading_bot\.py --(adopt|retire|promote|demote|pause|resume|ladder)\b.*": "tests/test_adopting.py, "
    "tests/test_ladder.py",
    r"python backtester\.py .*": "tests/test_backtester.py",
    r"python ml_pipeline\.py .*": "tests/test_ml_pipeline.py",
    r"python -m research\.sweep .*": "tests/test_sweep.py",
    r"python notifier\.py.*": "tests/test_notifier.py",
    r"python -m desk\.accounts.*": "tests/test_accounts.py",
    r"python -m pytest tests/test_strategies\.py .*": RUN,
    r"echo 4 > data/HALT": "tests/test_engine.py: a HALT file stops the desk",
    r"python model_manager\.py .*": "tests/test_model_line.py",
}


def fate(line: str) -> str:
    return next((how for pattern, how in FATES.items() if re.fullmatch(pattern, line)), "")


def test_every_command_in_a_block_has_a_fate() -> None:
    assert (
        sorted(
            {f"{line.path.name}: {line.words}" for path in PRESENT for line in commands(path) if not fate(line.words)}
        )
        == []
    )


def test_every_fate_is_some_command_s() -> None:
    lines = {line.words for path in PRESENT for line in commands(path)}

    assert [pattern for pattern in FATES if not any(re.fullmatch(pattern, line) for line in lines)] == []


def test_a_fate_that_names_a_test_names_one_there_is() -> None:
    named = {name for how in FATES.values() for name in re.findall(r"tests/[\w/]+\.py", how)}

    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.long
@pytest.mark.parametrize("line", sorted({line.words for line in EVERY if fate(line.words) == RUN}))
def test_the_cheap_commands_work(line: str) -> None:
    words = shlex.split(line)
    done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


# Figures and Python


def test_every_score_of_a_model_is_defined() -> None:
    from learning.scoring import scores

    rows = re.findall(r"^\| (`.+?`) \|", text_of(DOCS / "metrics.md"), flags=re.M)
    defined = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert set(scores(np.array([[0.2, 0.8], [0.7, 0.3]]), np.array([1, 0]), np.array([0.01, -0.02]))) <= defined


def test_every_figure_of_the_desk_is_defined() -> None:
    """The labels of the figures on Positions and on the cards of Bot, as their code has them."""
    told = set(re.findall(r"^\| ([^|`]+?) \|", text_of(DOCS / "metrics.md"), flags=re.M))
    shown: set[str] = set()
    for path in (ROOT / "ui" / "positions.py", ROOT / "ui" / "bot_ladder.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "cells":
                shown |= {key.value for key in node.value.keys}  # type: ignore[attr-defined]

    assert len(shown) >= 9
    assert shown - told == set()


def test_the_python_in_the_documents_is_formatted() -> None:
    found = [str(path) for path in PRESENT if "```python" in text_of(path)]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", *found],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [p for p in PRESENT if "```python" in text_of(p)], ids=lambda p: p.name)
def test_the_python_in_the_documents_imports_what_there_is(path: Path) -> None:
    """Every name that an example imports from our rooms is there."""
    wrong = []
    for _, language, code in FENCE.findall(text_of(path)):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and _ours(node.module):
                source = text_of(_ours(node.module) or ROOT)
                wrong += [
                    f"{node.module}.{one.name}" for one in node.names if not re.search(rf"\b{one.name}\b", source)
                ]

    assert wrong == []


def _ours(module: str) -> Path | None:
    base = ROOT / module.replace(".", "/")
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.exists()), None)
