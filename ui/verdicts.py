"""What the gates said, for a person: refusals and warnings in full, what passed in one line to open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from domain.verdicts import Outcome
from ui import wording


def show(told: Sequence[dict[str, Any]]) -> None:
    """Every verdict, with symbol and word; an outcome nobody knows counts as a refusal."""
    passed = [v for v in told if v["outcome"] == Outcome.PASSED]
    warned = [v for v in told if v["outcome"] == Outcome.WARNING]
    for verdict in (v for v in told if v not in passed and v not in warned):
        st.error(_words(verdict, "refused"), icon=":material/block:")
    for verdict in warned:
        st.warning(_words(verdict, "warning"), icon=":material/warning:")
    if passed:
        gates = "gate" if len(passed) == 1 else "gates"
        with st.expander(f"✓ {len(passed)} {gates} passed"):
            st.markdown("\n".join(f"- ✓ **{wording.plain(v['gate'])}** {wording.plain(v['said'])}" for v in passed))


def refused(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The verdicts that stand against it."""
    return [v for v in told if v["outcome"] not in (Outcome.PASSED, Outcome.WARNING)]


def _words(verdict: dict[str, Any], word: str) -> str:
    reasons = [wording.plain(reason) for reason in verdict.get("reasons") or [verdict["said"]]]
    said = reasons[0] if len(reasons) == 1 else "".join(f"\n- {reason}" for reason in reasons)
    return f"**{wording.plain(verdict['gate'])}: {word}.** {said}"
