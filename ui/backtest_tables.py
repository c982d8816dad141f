"""A study in, tables out: the figures side by side, the trades, the checks of a verdict and what goes into files.

Nothing here knows Streamlit; the page and the report show the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from domain.instruments import instrument
from domain.metrics import Metric, measure
from domain.params import params_of
from strategies.base import find
from ui import wording

if TYPE_CHECKING:
    from research.study import Run, Study

HELD = "buy and hold"
STAR = "★ "
# A metric by its key, and whether more of it is better; None where neither is: nothing is marked then.
HEADLINE: dict[str, bool | None] = {
    "total_return": True,
    "cagr": True,
    "sharpe": True,
    "sortino": True,
    "calmar": True,
    "max_drawdown": True,  # below 0: the least deep is the highest
    "max_drawdown_days": False,
    "volatility": False,
    "trades": None,
    "win_rate": True,
    "profit_factor": True,
    "payoff": True,
    "expectancy": True,
    "time_exposure": None,
    "turnover": None,
    "costs": False,
    "break_even_bps": True,
    "psr": True,
}
OF_TRADES = ("trades", "win_rate", "profit_factor", "payoff", "expectancy", "time_exposure", "turnover", "costs")
OF_TRADES += ("break_even_bps",)
WORDS = {"fail": ("✖", "FAIL"), "weak": ("◐", "WEAK"), "worth paper trading": ("✔", "WORTH PAPER TRADING")}
UNJUDGED = ("–", "NOT JUDGED")
OUTCOMES = {"pass": "✔ pass", "doubt": "▲ doubt", "fail": "✖ fail"}
WORST_FIRST = ("fail", "doubt", "pass")


# Figures


def headline(study: Study) -> pd.DataFrame:
    """Metrics as rows, runs and buying and holding as columns, as text; the best of a row begins with a star."""
    return _table({run.label: run.metrics for run in study.runs} | {HELD: held_metrics(study)}, {HELD})


def beside(studies: Mapping[str, Study]) -> pd.DataFrame:
    """The same of several studies, their runs named after them: `A · sma_crossover 5/15`. Nothing is best where they
    are not alike."""
    columns, held = {}, set()
    for name, study in studies.items():
        columns |= {f"{name} · {run.label}": run.metrics for run in study.runs}
        columns[f"{name} · {HELD}"] = held_metrics(study)
        held.add(f"{name} · {HELD}")
    return _table(columns, held, starred=not unlike(list(studies.values())))


def unlike(studies: Sequence[Study]) -> str:
    """Why the figures of several studies cannot be held against each other; "" where they can."""
    spans = {(s.asked.symbols, s.asked.interval, s.benchmark.index[0], s.benchmark.index[-1]) for s in studies}
    said = ["they are about different symbols, bars or days"] if len(spans) > 1 else []
    said += ["they trade under different rules"] if len({s.asked.setup.words for s in studies}) > 1 else []
    said += ["some prices are made up"] if len({s.simulated for s in studies}) > 1 else []
    return f"Not like for like: {', '.join(said)}." if said else ""


def _table(columns: Mapping[str, Mapping[str, Metric]], held: set[str], *, starred: bool = True) -> pd.DataFrame:
    idle = {label for label, metrics in columns.items() if label not in held and not metrics["trades"].value}
    rows = {}
    for key, more in HEADLINE.items():
        found = {label: metrics.get(key) for label, metrics in columns.items()}
        known = next((m for m in found.values() if m is not None), None)
        if known is None:
            continue
        if key in OF_TRADES:
            found |= dict.fromkeys(held)  # it trades once: what that says of trading is nothing
        best = _best({label: found[label] for label in found if label not in idle}, more if starred else None)
        rows[known.name] = {label: _text(metric, label in best) for label, metric in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Figure")


def held_metrics(study: Study) -> dict[str, Metric]:
    """The figures of buying and holding."""
    crypto = all(instrument(symbol).is_crypto for symbol in study.asked.symbols)
    return measure(study.benchmark, periods=365 if crypto else 252, zone="UTC" if crypto else "America/New_York")


def zone_of(study: Study, zone: str) -> str:
    """The zone of its times: the chosen one, but UTC where all of it trades around the clock, as on its charts."""
    return "UTC" if all(instrument(symbol).is_crypto for symbol in study.asked.symbols) else zone


def _best(found: dict[str, Metric | None], more: bool | None) -> set[str]:
    """The columns with the best value; none where all are equal or there is nothing to compare."""
    values = {label: m.value for label, m in found.items() if m is not None and m.value is not None}
    if more is None or len(values) < 2 or len(set(values.values())) == 1:
        return set()
    top = max(values.values()) if more else min(values.values())
    return {label for label, value in values.items() if value == top}


def _text(metric: Metric | None, best: bool) -> str:
    if metric is None or metric.value is None:
        return wording.NOTHING
    return f"{STAR if best else ''}{metric.text}".replace("-", "−")


def intervals(run: Run) -> pd.DataFrame:
    """Every figure of one run: value, 95 % interval, cases, definition."""
    rows = [
        {
            "Figure": m.name,
            "Value": m.text.replace("-", "−"),
            "95 % interval": between(m),
            "n": f"{m.n:,}",
            "Definition": m.words,
        }
        for m in run.metrics.values()
    ]
    return pd.DataFrame(rows)


def between(metric: Metric) -> str:
    """Its interval as text; a dash where it has none."""
    if metric.low is None or metric.high is None:
        return wording.NOTHING
    low, high = (
        Metric(metric.name, value, metric.n, None, None, metric.unit, "").text for value in (metric.low, metric.high)
    )
    return f"{low} to {high}".replace("-", "−")


# The verdict


@dataclass(frozen=True, slots=True)
class Box:
    """A verdict as it is drawn: a sign and a word, one line, and its checks, the worst first."""

    sign: str
    word: str
    tone: str
    said: str
    checks: tuple[dict[str, Any], ...] = ()
    unknown: tuple[str, ...] = ()


def box(verdict: dict[str, Any] | None) -> Box:
    """The box of a run; one without a verdict says so, and never looks like a good one."""
    if verdict is None:
        return Box(*UNJUDGED, "none", "Nobody asked for a verdict on this run.")
    word = str(verdict.get("verdict", ""))
    sign, shown = WORDS.get(word, ("?", word.upper() or "UNKNOWN"))
    tone = {"fail": "fail", "weak": "weak", "worth paper trading": "worth"}.get(word, "none")
    checks = sorted(verdict.get("checks", ()), key=lambda c: _rank(str(c.get("outcome", ""))))
    return Box(sign, shown, tone, str(verdict.get("said", "")), tuple(checks), tuple(verdict.get("unknown", ())))


def _rank(outcome: str) -> int:
    return WORST_FIRST.index(outcome) if outcome in WORST_FIRST else -1


def grounds(box: Box) -> list[str]:
    """Why the word is what it is, a line an outcome: `✖ sample size, costs`."""
    found = [(o, [str(c.get("name", "")) for c in box.checks if c.get("outcome") == o]) for o in ("fail", "doubt")]
    said = [f"{OUTCOMES[outcome]}: {', '.join(named)}" for outcome, named in found if named]
    return said or (["✔ every check passes"] if box.checks else [box.said])


def counted(checks: tuple[dict[str, Any], ...]) -> str:
    """How many checks ended how: `1 fails, 2 doubt, 9 pass`."""
    count = {outcome: sum(c.get("outcome") == outcome for c in checks) for outcome in WORST_FIRST}
    words = {"fail": "fail", "doubt": "doubt", "pass": "pass"}
    said = [
        f"{n} {words[o]}{'es' if o == 'pass' else 's'}" if n == 1 else f"{n} {words[o]}" for o, n in count.items() if n
    ]
    return ", ".join(said) or "no checks"


# Trades, comparison, costs


def symbols_of(run: Run) -> list[str]:
    """What it traded: all of the study, or one of them where they do not share their cash."""
    return list(run.stamp["data"])


def trade_list(run: Run, zone: str) -> pd.DataFrame:
    """The trades for a table that can be sorted: numbers stay numbers, times are of the zone."""
    found = run.trades
    per_cent = 100 * found["profit"] / (found["entry"] * found["quantity"]).replace(0.0, np.nan)
    return pd.DataFrame(
        {
            "No": np.arange(1, len(found) + 1),
            "Symbol": found["symbol"].astype(str),
            "Side": found["side"].astype(str).map({"long": "▲ long", "short": "▼ short"}),
            "In": _wall(found["entry_time"], zone),
            "Entry": found["entry"],
            "Out": _wall(found["exit_time"], zone),
            "Exit": found["exit"],
            "Why out": found["reason"].astype(str),
            "Quantity": found["quantity"],
            "Profit": found["profit"],
            "%": per_cent,
            "MAE": found["mae"],
            "MFE": found["mfe"],
            "Bars": found["bars"],
            "Fees": found["fees"],
            "Slippage": found["slippage_cost"],
        }
    )


def _wall(times: pd.Series, zone: str) -> Any:
    return pd.DatetimeIndex(times).tz_convert(zone).tz_localize(None)


RANKED = {
    "label": "Run",
    "total_return": "Return %",
    "sharpe": "Sharpe",
    "low": "from",
    "high": "to",
    "next": "Held against",
    "better": "Better, %",
    "chance": "Such a lead by luck, %",
    "deflated": "No luck, %",
    "verdict": "Verdict",
}
COMPARISON_SAID = (
    "Sharpe with its 95 % interval; how sure it is that a run is better than the one it is held against; how often "
    "luck alone leads by as much, every trial counted; and how sure its own Sharpe ratio is no luck."
)


def comparison(study: Study) -> pd.DataFrame | None:
    """The runs ranked, and whether each is really better than the next; None for one run. Shares are in per cent."""
    found = study.comparison
    if found is None or found.empty:
        return None
    shown = found.rename(columns=RANKED)
    for name in ("Return %", "Better, %", "Such a lead by luck, %", "No luck, %"):
        if name in shown:
            shown[name] = 100 * pd.to_numeric(shown[name])
    return shown[[name for name in RANKED.values() if name in shown]]


def costs_said(run: Run) -> str:
    """What trading cost a run, in a sentence."""
    fees, slipped = float(run.trades["fees"].sum()), float(run.trades["slippage_cost"].sum())
    profit = float(run.trades["profit"].sum())
    gross = profit + fees + slipped
    said = f"paid {fees:,.2f} in fees and {slipped:,.2f} in spread and slippage, open trades included"
    if gross > 0:
        return f"{said}: {(fees + slipped) / gross:.0%} of the {gross:,.2f} it made before them."
    return f"{said}, and lost {abs(gross):,.2f} before them." if gross < 0 else f"{said}."


# Words of what was asked


def params_words(name: str, params: dict[str, Any]) -> str:
    """Its parameters that are not the default ones."""
    try:
        usual = {key: one.default for key, one in params_of(find(name)).items()}
    except Exception:  # noqa: BLE001 - a strategy's file may be gone since: its name and numbers are still true
        usual = {}
    said = [f"{key} {value}" for key, value in params.items() if usual.get(key) != value]
    return ", ".join(said) or "default parameters"


def asked_words(asked: Any) -> str:
    """A question in one line: symbols, bars, span, strategies."""
    symbols = ", ".join(asked.symbols[:4]) + (f" and {len(asked.symbols) - 4} more" if len(asked.symbols) > 4 else "")
    names = list(dict.fromkeys(chosen.name for chosen in asked.strategies))
    span = f"{asked.start or 'five years back'} to {asked.end or 'today'}"
    swept = " · sweep over " + " and ".join(asked.sweep) if asked.sweep else ""
    runs = f" ({len(asked.strategies)} runs)" if len(asked.strategies) > 1 else ""
    mark = " · SIMULATED" if asked.source == "simulated" else ""
    return f"{symbols} · {asked.interval} · {span} · {', '.join(names)}{runs}{swept}{mark}"


# Files


TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
DIGITS = "%.12g"


def equity_csv(study: Study) -> str:
    """Every run's equity, drawdown and exposure, and the benchmark, a row a bar, in UTC."""
    parts = {}
    for run in study.runs:
        parts |= {f"{run.label} {name}": run.curve[name] for name in ("equity", "drawdown", "exposure")}
    frame = pd.DataFrame(parts | {HELD: study.benchmark})
    frame["prices"] = prices(study)
    return frame.to_csv(index_label="time_utc", date_format=TIME_FORMAT, float_format=DIGITS)


def trades_csv(study: Study) -> str:
    """Every trade of every run, in UTC."""
    frames = [run.trades.assign(run=run.label, prices=prices(study)) for run in study.runs]
    found = pd.concat(frames, ignore_index=True)
    first = ["run", *[name for name in found.columns if name != "run"]]
    return found[first].to_csv(index=False, date_format=TIME_FORMAT, float_format=DIGITS)


def prices(study: Study) -> str:
    """The word that goes into every row of a file."""
    return "SIMULATED" if study.simulated else "real"


def file_stem(study: Study) -> str:
    """What its files are called."""
    mark = "_SIMULATED" if study.simulated else ""
    return f"backtest_{'-'.join(study.asked.symbols[:3])}_{study.asked.interval}_{study.made[:10]}{mark}"
