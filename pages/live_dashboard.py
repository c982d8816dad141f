"""Live candlesticks of the watched symbols, their patterns marked, explained and put to the test."""

import streamlit as st

from ui import forms, panels
from ui.components import live_chart
from ui.session import open_page

app = open_page("Live dashboard")
symbol = forms.watch_strip(app)
if not symbol:
    panels.nothing_watched(app)
    st.stop()
query = {"symbol": symbol, **forms.chart_controls(app)}
live_chart(query, key="desk_chart", height=panels.chart_height(query))
panels.chart_notes(app, query)
panels.pattern_panels(app, query)
