"""The peer: the same candles in the same figure, drawn the way Streamlit's own documentation draws a live chart.

    streamlit run benchmarks/peer_page.py     then ?bars=1000 for the longer chart

A fragment runs each second and hands a whole figure to `st.plotly_chart`. The figure is our own, built by
`ui.charts`, so the peer is spared a slow build. PEER_FREEZE=1 also moves what was imported out of the garbage
collector's sight, as our server does.
"""

import gc
import os

import numpy as np
import pandas as pd
import streamlit as st

import bootstrap
from benchmarks.servers import chart_query
from domain import candles as cd
from ui import charts
from ui.live import read_view
from ui.views import WARM_UP_BARS


@st.cache_resource
def settled() -> bool:
    if os.environ.get("PEER_FREEZE") == "1":
        gc.collect()
        gc.freeze()
    return True


def with_forming(live: object) -> pd.DataFrame:
    """The closed bars and the one that is forming, in one frame."""
    closed, bar = live.closed, live.forming
    if bar is None:
        return closed
    last = [bar.open, bar.high, bar.low, bar.close, bar.volume]
    values = np.vstack([closed[list(cd.COLUMNS)].to_numpy(), last])
    times = np.append(cd.nanos(closed), pd.Timestamp(bar.time).value)
    return cd.frame(times, {c: values[:, at] for at, c in enumerate(cd.COLUMNS)})


@st.fragment(run_every=1.0)
def chart(query: dict[str, str]) -> None:
    view = read_view(query)
    live = bootstrap.start().live(query["symbol"], view.tf, view.bars + WARM_UP_BARS)
    figure, _ = charts.base(with_forming(live), live.instrument, view, watermark="SIMULATED")
    figure.update_layout(height=560)
    st.plotly_chart(figure, key="live", config={"scrollZoom": True})


st.set_page_config(page_title="Peer", layout="wide")
settled()
chart(chart_query(int(st.query_params.get("bars", "500")), st.query_params.get("tf", "5m")))
