"""What the desk runs on: where candles come from, how it looks, and which of the user's files it reads."""

import streamlit as st

from ui import dialogs, etrade, preferences, risk
from ui.session import open_page

app = open_page("Settings")
dialogs.show(app)
st.title("Settings")
names = ["Data source", "E*TRADE", "Risk", "Appearance", "Your files"]
source, broker, limits, appearance, files = st.tabs(names, key="tab", on_change="rerun", bind="query-params")
with source:
    preferences.data_source(app)
if broker.open:
    with broker:
        etrade.etrade(app)
if limits.open:
    with limits:
        risk.risk(app)
with appearance:
    preferences.appearance(app)
with files:
    preferences.your_files(app)
