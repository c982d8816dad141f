"""What to train, as a form. A draft has the shape of a job's question (`ml_pipeline.work`); its fields are drawn from
the declarations of `Options` and `Label`, and what is typed is kept, also where it is wrong: the form says why.

Widgets are called after the draft's number: a new draft (an earlier training) gets new widgets that begin with its
values. The training library is imported where it is first needed, for it takes seconds.
"""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from typing import Any

import streamlit as st

from domain import registry
from domain.calendars import NEW_YORK
from domain.candles import TIMEFRAMES
from domain.errors import DeskError
from domain.instruments import KNOWN, instrument
from domain.params import Param, build, params_of
from patterns import PATTERNS
from ui import wording
from ui.session import Open

Draft = dict[str, Any]
FILES = "files"
NAME = "pattern_nn"
KINDS = {"triple_barrier": "Triple barrier", "direction": "Direction", "pattern": "Pattern"}
ABOUT = {
    "triple_barrier": "Would a long trade with this target, stop and patience earn something? A **forecast**: expect "
    "little more than what always naming the commonest class gets.",
    "direction": "Is the close so many bars on above the next open? A **forecast**: 50 to 54 % is what honest models "
    "get.",
    "pattern": "Which candlestick pattern is complete at this bar? **Recognition**, no forecast: the answer is a "
    "formula of the candles. A high accuracy says that the model can read, not that it can foresee.",
}
OF_LABEL = {
    "triple_barrier": ("horizon", "pt", "sl", "vol_span", "cost_bps"),
    "direction": ("horizon", "dead_band_bps", "cost_bps"),
    "pattern": (),
}
LABELS = {
    "horizon": "Bars until the answer",
    "pt": "Target, volatilities",
    "sl": "Stop, volatilities",
    "vol_span": "Volatility over bars",
    "dead_band_bps": "Dead band, bps",
    "cost_bps": "Round trip, bps",
    "epochs": "Epochs",
    "lr": "Learning rate",
    "seq_len": "Sequence length",
    "seed": "Seed",
    "batch_size": "Windows a step",
    "hidden": "Memory",
    "layers": "Layers",
    "dropout": "Dropout",
    "backbone": "Backbone",
    "patience": "Patience, epochs",
    "weight_decay": "Weight decay",
    "label_smoothing": "Label smoothing",
    "device": "Compute on",
    "threads": "Threads",
}
STEPS = {"lr": 0.0005, "weight_decay": 0.005, "label_smoothing": 0.01, "dropout": 0.05}
FIRST = ("epochs", "lr", "seq_len", "seed")
YEARS = 5
MOST_SEEDS, MOST_FOLDS = 100, 50
_DRAFT, _NUMBER = "tr_draft", "tr_draft_number"


# The draft


def draft(app: Open) -> Draft:
    """The training as it stands in the fields of this visit."""
    if _DRAFT not in st.session_state:
        begin(_first(app))
    found: Draft = st.session_state[_DRAFT]
    return found


def begin(given: Draft) -> None:
    """Put another training into the form."""
    kept = {name: value for name, value in given.items() if name not in ("resume", "out_dir")}
    st.session_state[_DRAFT] = kept
    st.session_state[_NUMBER] = st.session_state.get(_NUMBER, 0) + 1


def _first(app: Open) -> Draft:
    """What a newcomer finds: the person's own files where there are any, else the desk's source and two symbols."""
    market = app.desk.market
    held = market.holdings()
    source = FILES if held and market.simulated else str(market.name)
    watched = [s for s in app.people.watchlist() if s in KNOWN and not instrument(s).is_crypto][:2] or ["AAPL"]
    return {
        "training": first_training(),
        "symbols": [] if source == FILES else watched,
        "timeframe": _commonest(held) if source == FILES else "1h",
        "source": source,
        "start": "",
        "end": "",
    }


def first_training() -> Draft:
    """What a training is where nobody says otherwise."""
    from learning.labels import Label
    from learning.options import Options

    options = {name: one.default for name, one in params_of(Options).items()}
    return {"options": options, "label": Label().to_dict(), "name": NAME, "seeds": 1, "folds": 0, "simulated": False}


def _commonest(held: list[Any]) -> str:
    """The bars that most of the files have; of equals the finest."""
    names = [one.timeframe for one in held]
    order = list(TIMEFRAMES)
    return min(set(names), key=lambda name: (-names.count(name), order.index(name))) if names else "1h"


def asked_of(app: Open, given: Draft) -> Draft:
    """The question for the job, checked. ValueError or DeskError names what is wrong.

    An open end is made a day, yesterday: so a training that was stopped goes on with the very same candles."""
    training = _checked(given["training"])
    symbols = [instrument(one).symbol for one in given["symbols"]]
    told = {**given, "training": training, "symbols": symbols, "out_dir": str(_models(app))}
    if given["source"] == FILES:
        return told | {"start": "", "end": ""}
    if not symbols:
        raise ValueError("symbols: choose one at least")
    last = given["end"] or str(yesterday(app))
    first = given["start"] or str(date.fromisoformat(last) - timedelta(days=round(365.25 * YEARS)))
    if first > last:
        raise ValueError(f"the first day must not lie after the last: got {first} and {last}")
    return told | {"start": first, "end": last}


def _checked(training: Draft) -> Draft:
    """As JSON values, each within its range."""
    from learning.labels import Label
    from learning.options import Options

    if training["label"]["kind"] == "pattern" and not training["label"]["patterns"]:
        raise ValueError("patterns: choose one at least")
    options = build(Options, dict(training["options"]))
    label = Label.of(dict(training["label"]))
    return {**training, "options": dataclasses.asdict(options), "label": label.to_dict()}


def _models(app: Open) -> Any:
    return app.desk.settings.models_dir.absolute()


def yesterday(app: Open) -> date:
    """The last day that is over, on the market's own clock."""
    return app.desk.market.clock.now().astimezone(NEW_YORK).date() - timedelta(days=1)


def complaint(app: Open, given: Draft) -> str:
    """Why it cannot be asked; "" where it can."""
    try:
        asked_of(app, given)
    except (DeskError, ValueError, TypeError) as error:
        return str(error)
    return ""


def words(told: Any) -> str:
    """A training in one line."""
    try:
        training = told["training"]
        label, options = training["label"], training["options"]
        kind = KINDS.get(label["kind"], label["kind"])
        over = "" if label["kind"] == "pattern" else f" {label['horizon']} bar{'s' * (label['horizon'] != 1)} on"
        of = ", ".join(told["symbols"][:4]) or "every symbol of your files"
        more = f" and {len(told['symbols']) - 4} more" if len(told["symbols"]) > 4 else ""
        size = f"{options['epochs']} epochs, sequences of {options['seq_len']}, lr {options['lr']:g}"
        return f"{kind}{over} · {of}{more} · {told['timeframe']} · {size}, seed {options['seed']}"
    except (KeyError, TypeError, IndexError, ValueError):
        return "a training that cannot be read"


# Reading the fields


def collect() -> Draft:
    """The draft with what the fields hold now; what is not drawn keeps the value it had. It is kept."""
    from learning.labels import Label
    from learning.options import Options

    known: Draft = st.session_state[_DRAFT]
    training = known["training"]
    options = {name: _value(f"o_{name}", training["options"][name]) for name in params_of(Options)}
    label = {name: _value(f"l_{name}", training["label"][name]) for name in params_of(Label)}
    label["kind"] = label["kind"] or training["label"]["kind"]
    label["patterns"] = list(_value("l_patterns", training["label"]["patterns"])) if label["kind"] == "pattern" else []
    more = {name: int(_value(name, training[name])) for name in ("seeds", "folds")}
    found = {
        **known,
        "training": {**training, "options": options, "label": label, **more},
        "symbols": list(_value("symbols", known["symbols"])),
        "timeframe": _value("timeframe", known["timeframe"]) or known["timeframe"],
        "source": _value("source", known["source"]) or known["source"],
        **{name: _day(_value(name, known[name])) for name in ("start", "end")},
    }
    st.session_state[_DRAFT] = found
    return found


def _key(name: str) -> str:
    return f"tr_{st.session_state[_NUMBER]}_{name}"


def _value(name: str, otherwise: Any) -> Any:
    return st.session_state.get(_key(name), otherwise)


def _held(name: str, value: Any) -> str:
    """A widget's key, its value beginning with the draft's."""
    key = _key(name)
    st.session_state.setdefault(key, value)
    return key


def _day(value: Any) -> str:
    return value if isinstance(value, str) else value.isoformat() if value else ""


# Drawing them


def fields(app: Open) -> Draft:
    """All fields; the draft they hold now."""
    now = draft(app)
    _question(now["training"]["label"])
    now = collect()
    _candles(app, now)
    now = collect()
    _network(now["training"])
    return collect()


def _question(label: Draft) -> None:
    from learning.labels import Label

    kind = st.segmented_control(
        "What the model is asked", list(KINDS), key=_held("l_kind", label["kind"]), format_func=KINDS.get, required=True
    )
    st.caption(ABOUT[kind or label["kind"]])
    declared = params_of(Label)
    if kind == "pattern":
        from learning.labels import CLASSIC

        names = [one.label for one in PATTERNS.values()]
        st.multiselect(
            "Patterns to tell apart",
            list(dict.fromkeys([*CLASSIC, *names])),
            key=_held("l_patterns", list(label["patterns"]) or list(CLASSIC)),
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name in OF_LABEL[kind or label["kind"]]:
            _field(declared[name], _held(f"l_{name}", _cast(declared[name], label[name])))


def _candles(app: Open, now: Draft) -> None:
    market = app.desk.market
    offered = list(dict.fromkeys([str(market.name), FILES]))
    named = {str(market.name): f"Live data · {market.label}", FILES: "Your files"}
    if now["source"] not in offered:
        offered.append(now["source"])
        named[now["source"]] = _source_words(now["source"])
    where, bars = st.columns([3, 2])
    with where:
        st.segmented_control(
            "Candles from", offered, key=_held("source", now["source"]), format_func=named.get, required=True
        )
    with bars:
        st.segmented_control("Bars", list(TIMEFRAMES), key=_held("timeframe", now["timeframe"]), required=True)
    source = _value("source", now["source"])
    own = [h.symbol for h in market.holdings()]
    kept = [k.symbol for k in market.kept()]
    names = [*now["symbols"], *own] if source == FILES else [*now["symbols"], *app.people.watchlist(), *kept, *KNOWN]
    symbols, first, last = st.columns([4, 1, 1])
    symbols.multiselect(
        "Symbols",
        list(dict.fromkeys(names)),
        key=_held("symbols", list(now["symbols"])),
        accept_new_options=True,
        placeholder="every symbol of the folder" if source == FILES else "AAPL, or several",
        help="All of one kind of market: shares and crypto trade on different days",
    )
    if source != FILES:
        for column, name, label, empty in (
            (first, "start", "First day", f"{YEARS} years before the last"),
            (last, "end", "Last day", "yesterday"),
        ):
            column.date_input(
                label,
                key=_held(name, date.fromisoformat(now[name]) if now[name] else None),
                min_value=date(1980, 1, 1),
                max_value=date(2100, 1, 1),
                format="YYYY-MM-DD",
                help=f"Included. Empty: {empty}.",
            )
    st.caption(wording.plain(_there(app, source, _value("symbols", now["symbols"]))))


def _source_words(name: str) -> str:
    return str(registry.part("feeds", name).label) if name in registry.names("feeds") else f"{name} (gone)"


def _there(app: Open, source: str, symbols: list[str]) -> str:
    """What is on this machine of these symbols."""
    market = app.desk.market
    if source == FILES:
        held = [(h.symbol, h.timeframe, h.first, h.last, h.rows) for h in market.holdings()]
        where = f"In {app.desk.settings.files_dir}"
    else:
        held = [(k.symbol, k.timeframe, k.first, k.last, k.rows) for k in market.kept() if k.first]
        where = "Kept on this machine"
    shown = [one for one in held if not symbols or one[0] in symbols]
    lines = [f"{s} {tf} {a:%Y-%m-%d} to {b:%Y-%m-%d} ({rows:,} bars)" for s, tf, a, b, rows in shown[:6]]
    more = f" and {len(shown) - 6} more series" if len(shown) > 6 else ""
    nothing = "nothing of these symbols" if held else "no candles yet"
    rest = ", all of it is learned from" if source == FILES and lines else ""
    rest = rest if source == FILES else f"; the rest is asked of {market.label} when the training begins"
    return f"{where}: {'; '.join(lines) + more if lines else nothing}{rest}."


def _network(training: Draft) -> None:
    from learning.options import Options

    declared, options = params_of(Options), training["options"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name in FIRST:
            _field(declared[name], _held(f"o_{name}", _cast(declared[name], options[name])))
    with st.expander("Advanced", icon=":material/tune:"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            for name in declared:
                if name not in FIRST:
                    _field(declared[name], _held(f"o_{name}", _cast(declared[name], options[name])))
        st.caption("Trained more than once, to see how much of the result is chance:")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.number_input(
                "Seeds", 1, MOST_SEEDS, key=_held("seeds", training["seeds"]), width=130, help="The first one is kept"
            )
            st.number_input(
                "Walk-forward folds",
                0,
                MOST_FOLDS,
                key=_held("folds", training["folds"]),
                width=160,
                help="Learned anew in each fold, asked only about what came after it; 0: none",
            )


def _field(param: Param, key: str) -> None:
    """One declared field; its range is told, and checked where the question is made."""
    label = LABELS.get(param.name, param.name.replace("_", " "))
    within = "" if param.low is None or param.high is None else f" From {param.low:g} to {param.high:g}."
    note = f"{param.help[:1].upper()}{param.help[1:]}.{within}"
    if param.choices:
        st.selectbox(label, list(param.choices), key=key, help=note, width=130)
    elif param.kind is int:
        st.number_input(label, step=1, key=key, help=note, width=150)
    else:
        step = STEPS.get(param.name) or param.step or 0.1
        st.number_input(label, step=step, format="%g", key=key, help=note, width=150)


def _cast(param: Param, value: Any) -> Any:
    """JSON may have made a whole number of a fraction."""
    return float(value) if param.kind is float else value


def slower(told: Draft) -> Draft:
    """The same training with a tenth of the learning rate."""
    training = told["training"]
    options = {**training["options"], "lr": float(f"{training['options']['lr'] / 10:.3g}")}
    return {**told, "training": {**training, "options": options}}
