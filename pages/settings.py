"""What the desk runs on: where candles come from, where orders go, how it looks, and the user's own files."""

import streamlit as st

from ui import arming, dialogs, etrade, preferences, risk
from ui.session import open_page

app = open_page("Settings")
dialogs.show(app)
st.title("Settings")
names = ["Data source", "E*TRADE", "Trading", "Risk", "Appearance", "Your files"]
source, broker, orders, limits, appearance, files = st.tabs(names, key="tab", on_change="rerun", bind="query-params")
with source:
    preferences.data_source(app)
if broker.open:
    with broker:
        etrade.etrade(app)
if orders.open:
    with orders:
        arming.trading(app)
if limits.open:
    with limits:
        risk.risk(app)
with appearance:
    preferences.appearance(app)
with files:
    preferences.your_files(app)
