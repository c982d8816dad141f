"""One model as a person should see it: first in a plain sentence what it can and cannot do, then the figures behind it.

Everything is read from the description that was saved beside the weights; nothing is worked out anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from learning.card import card, question
from ui import training_charts as charts
from ui import wording
from ui.components import steady_figure

Said = Mapping[str, Any]
CHART = {"displayModeBar": False, "scrollZoom": False}
NAMES = {"majority": "majority", "logistic": "logistic", "lightgbm": "LightGBM"}
SHARES = ("acc", "majority_acc", "coverage_p70", "precision_p70")
COLUMNS = {
    "acc": ("Right", "Share of the later bars it was right about"),
    "around": ("95 % interval", "Wilson's, over the cases that do not share their bars"),
    "logloss": ("Log-loss", "Of the probabilities; lower is better"),
    "brier": ("Brier", "Mean squared error of the probabilities; lower is better"),
    "ece": ("ECE", "How far claims lie from what happened; lower is better"),
    "auc": ("AUC", "How often the case that came true had the higher probability; 0.5 is chance"),
    "mcc": ("MCC", "Matthews' correlation; 0 is chance"),
    "coverage_p70": ("Over 70 %", "Share of bars with a probability above 0.7; none is a legitimate answer"),
    "precision_p70": ("Right there", "Share of those it was right about"),
}
SIMULATED = (
    "## SIMULATED\n**This model learned from made-up prices.** It knows nothing of the market: nothing here says what "
    "it would find or earn there. It shows how the page works."
)
BADGES = {
    "none": ("■ Never judged", "gray"),
    "worse": ("▼ No better than the majority", "orange"),
    "better": ("▲ Better than the majority", "blue"),
    "recognises": ("◆ Recognises, does not forecast", "blue"),
}
FIGURES = (
    ("net_return", "Net return", "{:+.1%}"),
    ("sharpe", "Sharpe", "{:.2f}"),
    ("max_drawdown", "Deepest fall", "{:.1%}"),
    ("turnover", "Turnover a year", "{:.0f}×"),
    ("trades", "Trades", "{:,.0f}"),
)


def show(key: str, said: Said, status: str) -> None:
    """The whole card; `key` names the model in widgets."""
    mark = charts.SIMULATED if simulated(said) else ""
    if mark:
        st.warning(SIMULATED, icon=":material/science:")
    _first_of_all(said)
    test = said.get("metrics", {}).get("test")
    if not test:
        st.info("It was never judged: there are no figures.", icon=":material/help:")
    else:
        _beside(said, mark, key)
        _honesty(said, test, mark, key)
        _after_costs(said, mark, key)
    _leaks(said)
    _learned(said, mark, key)
    _card(said, status, key)


def simulated(said: Said) -> bool:
    """Whether it learned from made-up prices."""
    return bool(said.get("data", {}).get("simulated"))


def badge_of(said: Said) -> str:
    """Which of `BADGES` stands over it."""
    test = said.get("metrics", {}).get("test")
    if not test:
        return "none"
    if test.get("overlaps_majority", True):
        return "worse"
    return "recognises" if said["label"]["kind"] == "pattern" else "better"


def _first_of_all(said: Said) -> None:
    """The badge and the sentence that nobody may miss."""
    word, colour = BADGES[badge_of(said)]
    with st.container(border=True, key="mc_first"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(word, color=colour)  # type: ignore[arg-type]
            st.caption(f"{said['name']} v{said['version']}, {wording.plain(about(said))}")
        st.markdown(f"##### {wording.plain(plain_sentence(said))}")
        if more := said.get("sentence"):
            st.caption(wording.plain(more))


def about(said: Said) -> str:
    """`5m AAPL, SPY, 2023-01-03 to 2026-11-19`."""
    data = said["data"]
    symbols = ", ".join(data["symbols"][:4]) + (f" and {len(data['symbols']) - 4} more" if data["symbols"][4:] else "")
    return f"{said['features']['timeframe']} {symbols}, {data['start'][:10]} to {data['end'][:10]}"


def plain_sentence(said: Said) -> str:
    """What it can and cannot do, in words that tell recognising from forecasting."""
    label, test = said["label"], said.get("metrics", {}).get("test")
    if label["kind"] == "pattern":
        right = f"in {test['acc']:.1%} of {test['n']:,} later bars" if test else "how often, nobody has measured"
        lead = f"It recognises which of {len(label['patterns'])} candlestick patterns is complete, {right}"
        none = f" (calling every bar none gets {test['majority_acc']:.1%})" if test else ""
        return f"{lead}{none}. Each pattern is a formula of its input: it can read, and it does not forecast."
    asked = "It forecasts: " + question(label)
    if not test:
        return f"{asked}? How well, nobody has measured."
    low, high = test["acc_ci95"]
    right = f"right in {test['acc']:.1%} of {test['n']:,} later bars (95 % interval {low:.1%} to {high:.1%})"
    plain = f"always naming the commonest class gets {test['majority_acc']:.1%}"
    end = "So it has shown nothing." if test.get("overlaps_majority", True) else "That is better, on these bars."
    return f"{asked}? It was {right}; {plain}. {end}"


# Beside the baselines


def _beside(said: Said, mark: str, key: str) -> None:
    metrics = said["metrics"]
    rows = {NAMES.get(name, name): found for name, found in metrics.get("baselines", {}).items() if found}
    rows["this model"] = metrics["test"]
    st.subheader("Beside plain baselines")
    st.dataframe(
        table(rows),
        key=f"mc_table_{key}",
        height="content",
        column_config={
            "": st.column_config.TextColumn(pinned=True, width=110),
            **{name: st.column_config.TextColumn(help=note, alignment="right") for name, note in COLUMNS.values()},
        },
        hide_index=True,
    )
    st.caption(
        f"On {metrics['test']['n']:,} bars that were kept back, {_span(said, 'test')}. The baselines learned from the "
        "same windows and were calibrated alike; the dotted line is the commonest class of these bars, known with "
        "hindsight."
    )
    _plot(charts.beside(rows, mark), f"mc_beside_{key}", "How often each was right, with its interval")


def table(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row a model, the figures as people read them."""
    return pd.DataFrame(
        [{"": name, **{title: cell(found, at) for at, (title, _) in COLUMNS.items()}} for name, found in rows.items()]
    )


def cell(found: Mapping[str, Any], name: str) -> str:
    """One figure; a dash where it is not defined."""
    if name == "around":
        low, high = found.get("acc_ci95") or (None, None)
        return wording.NOTHING if low is None else f"{low:.1%} to {high:.1%}"
    value = found.get(name)
    if value is None:
        return wording.NOTHING
    return f"{value:.1%}" if name in SHARES else f"{value:.4f}".replace("-", "−")


# How honest its probabilities are


def _honesty(said: Said, test: Said, mark: str, key: str) -> None:
    classes = list(said["arch"]["classes"])
    left, right = st.columns(2)
    with left:
        st.markdown("**Does it claim what happens?**")
        _plot(charts.reliability(test, mark), f"mc_reliability_{key}", "What was claimed against what happened")
        ece = "" if test.get("ece") is None else f"On average its claims lie {test['ece']:.1%} from what happened. "
        st.caption(f"{ece}Points on the dotted line are honest; the larger, the more cases.")
    with right:
        st.markdown("**Which does it take for which?**")
        if test.get("confusion"):
            _plot(
                charts.confusion(test["confusion"], classes, mark),
                f"mc_confusion_{key}",
                "What was said of each class, against what it was",
            )
        st.caption("A row is what was true, a column what it said.")
    st.markdown(f"**Above 70 %.** {wording.plain(sure(test))}")


def sure(test: Said) -> str:
    """Coverage and precision above 0.7, and what they mean."""
    if not test.get("coverage_p70"):
        return "It never claimed more than 70 %. That is a legitimate answer: whoever waits for it makes no trade."
    low, high = test.get("precision_p70_ci95") or (None, None)
    around = "" if low is None else f" (95 % interval {low:.1%} to {high:.1%})"
    claimed = "" if test.get("claimed_p70") is None else f", having claimed {test['claimed_p70']:.1%}"
    return (
        f"It claimed more than 70 % on {test['coverage_p70']:.1%} of the bars and was right in "
        f"{test['precision_p70']:.1%} of those{around}{claimed}."
    )


# Money


def _after_costs(said: Said, mark: str, key: str) -> None:
    net, kept = said["metrics"].get("backtest_net"), said["metrics"].get("equity")
    if said["label"]["kind"] == "pattern":
        st.caption("A recogniser of patterns is not traded: it says nothing about what prices do next.")
        return
    if not net:
        return
    st.subheader("After costs")
    st.markdown(wording.plain(net.get("said", "")))
    columns = st.columns([2, 3]) if kept else [st.container(), st.container()]
    with columns[0]:
        st.dataframe(money(net), key=f"mc_money_{key}", hide_index=True, height="content")
    if kept:
        with columns[1]:
            _plot(charts.equity(kept, mark), f"mc_equity_{key}", "Equity after costs, beside buying and holding")
    st.caption("Long from a probability of 55 % until it falls under 50 %; fills, spreads and fees as in a backtest.")


def money(net: Said) -> pd.DataFrame:
    """The model's figures beside those of buying and holding."""
    held = {"net_return": "hold_return", "sharpe": "hold_sharpe", "max_drawdown": "hold_max_drawdown"}
    rows = [
        {"Figure": title, "Model": _written(net.get(name), how), "Held": _written(net.get(held.get(name, "")), how)}
        for name, title, how in FIGURES
    ]
    for times in (2, 3):
        value = _written(net.get(f"net_return_{times}x"), "{:+.1%}")
        rows.append({"Figure": f"Net return, costs ×{times}", "Model": value, "Held": wording.NOTHING})
    return pd.DataFrame(rows)


def _written(value: Any, how: str) -> str:
    return wording.NOTHING if value is None else how.format(value).replace("-", "−")


# Leaks, learning, the card


def _leaks(said: Said) -> None:
    """The leak sentinel's word, where it was asked."""
    found = said.get("leaks")
    st.subheader("Leak sentinel")
    if not found:
        st.caption(":material/help: It was not asked about this model.")
    elif found.get("clean"):
        st.success("No leak was found. That is no proof that there is none.", icon=":material/verified_user:")
    else:
        for line in found.get("leaks", ()):
            st.error(wording.plain(line), icon=":material/report:")
    for line in (found or {}).get("asked", ()):
        st.caption(wording.plain(f"Asked: {line}"))


def _learned(said: Said, mark: str, key: str) -> None:
    """The losses, folded: of interest to few once it is done."""
    run = said.get("training", {})
    if not run.get("history"):
        return
    with st.expander("How it learned", icon=":material/show_chart:"):
        _plot(
            charts.losses(run["history"], int(run.get("best_epoch", 0)), 0, mark),
            f"mc_losses_{key}",
            "Loss of each epoch",
        )
        st.caption(
            f"Epoch {run.get('best_epoch')} of {run.get('epochs_run')} is kept; {run.get('windows_per_s', 0):,.0f} "
            f"windows a second on {run.get('device')}, {run.get('seconds', 0):.0f} s."
        )


def _card(said: Said, status: str, key: str) -> None:
    text = card(said, status)
    with st.expander("Model card", icon=":material/description:"):
        st.markdown(text.replace("# ", "### ", 1).replace("$", "\\$").replace("~", "\\~"))
    name = f"{said['name']}_v{said['version']}"
    st.download_button(
        "Download model card",
        text,
        f"{name}{'_SIMULATED' if simulated(said) else ''}.md",
        "text/markdown",
        icon=":material/download:",
        key=f"mc_download_{key}",
        on_click="ignore",
    )


def _plot(figure: go.Figure, key: str, label: str) -> None:
    steady_figure(figure, key=key, label=label, config=CHART)


def _span(said: Said, part: str) -> str:
    first, last = said["split"][part]
    return f"{first[:10]} to {last[:10]}"


def age(created: str, now: datetime) -> str:
    """`3 days ago`, of a moment as the description writes it."""
    try:
        made = datetime.fromisoformat(created)
    except ValueError:
        return "at an unknown time"
    passed = (now - (made if made.tzinfo else made.replace(tzinfo=UTC))).total_seconds()
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if passed >= size:
            count = int(passed // size)
            return f"{count} {word}{'s' if count > 1 else ''} ago"
    return "just now"
