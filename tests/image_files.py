"""What the image would be built from: `.dockerignore`, read by Docker's own rules.

The rules (https://docs.docker.com/build/concepts/context/#dockerignore-files): patterns are counted from the root, the
last one that fits a path or a folder above it decides, and `!` lets in again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT


class Ignored:
    """Whether a path stays out."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._patterns = [
            (line.startswith("!"), _expression(line.removeprefix("!"))) for line in lines if line and line[0] != "#"
        ]

    def __call__(self, path: str) -> bool:
        parts = path.split("/")
        folders = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        out = False
        for lets_in, expression in self._patterns:
            if lets_in == out and any(expression.fullmatch(folder) for folder in folders):
                out = not lets_in
        return out


def image_files(root: Path = ROOT) -> Iterator[str]:
    """Every file that goes into the image, as its path from the root. No link is followed."""
    ignored = Ignored((root / ".dockerignore").read_text(encoding="utf-8"))
    rooms = {line[1:].split("/")[0] for line in (root / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root).as_posix()
        if here == ".":  # what is let in nowhere need not be looked through
            folders[:] = [name for name in folders if name in rooms]
        for name in sorted(files):
            path = name if here == "." else f"{here}/{name}"
            if not ignored(path):
                yield path


def _expression(pattern: str) -> re.Pattern[str]:
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", pattern.strip("/"))
    return re.compile("".join(said.get(one, one if one[:1] == "[" else re.escape(one)) for one in parts))
