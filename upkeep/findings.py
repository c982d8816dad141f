"""What the doctor says: one finding for each thing looked at, with its cure. Nothing but the standard library, since it
must speak before anything is installed, on Pythons that are too old for the rest as well."""

from __future__ import annotations

import sys
from typing import IO, Iterable, List, NamedTuple  # noqa: UP035 - read by Pythons that are too old for the rest

FINE, NOTE, WRONG = "ok", "note", "wrong"
_SIGNS = {FINE: "✔", NOTE: "·", WRONG: "✖"}
_PLAIN = {FINE: "ok", NOTE: "--", WRONG: "!!"}


class Finding(NamedTuple):
    """`what` was looked at, how it is (`state`: FINE, NOTE or WRONG), what was `said`, why it matters and what cures
    it; the last two are '' where nothing is to be done."""

    what: str
    state: str
    said: str
    why: str = ""
    cure: str = ""


Findings = List[Finding]  # noqa: UP006


def fine(what: str, said: str) -> Finding:
    """Nothing to be done."""
    return Finding(what, FINE, said)


def note(what: str, said: str, why: str = "", cure: str = "") -> Finding:
    """Worth knowing; the desk works."""
    return Finding(what, NOTE, said, why, cure)


def wrong(what: str, said: str, why: str, cure: str) -> Finding:
    """Something does not work, or may cost money."""
    return Finding(what, WRONG, said, why, cure)


def told(found: Iterable[Finding], out: IO[str] | None = None) -> int:
    """Print them: 0 where nothing is wrong, 1 otherwise."""
    out = sys.stdout if out is None else out
    coding = getattr(out, "encoding", None) or "utf-8"
    signs = _SIGNS if "utf" in coding.lower() else _PLAIN
    counts = {FINE: 0, NOTE: 0, WRONG: 0}
    for one in found:
        counts[one.state] += 1
        lines = [f"{signs[one.state]} {one.what}: {one.said}"]
        lines += [f"    why:  {one.why}"] if one.why else []
        lines += [f"    cure: {one.cure}"] if one.cure else []
        out.write("\n".join(lines).encode(coding, "replace").decode(coding) + "\n")
        out.flush()
    bad = counts[WRONG]
    end = "Nothing is wrong." if not bad else f"{bad} thing{'s are' if bad > 1 else ' is'} wrong."
    out.write(f"\n{end} {counts[FINE]} fine, {counts[NOTE]} to know.\n")
    return 1 if bad else 0
