"""What the desk runs on: where candles come from, where orders go, how it looks, and the user's own files."""

import streamlit as st

from ui import arming, channels, dialogs, etrade, feed_status, keys, own_account, people, preferences, risk
from ui.session import open_page

app = open_page("Settings")
dialogs.show(app)
st.title("Settings")
keys.doubts(app)
names = ["Data source", "E*TRADE", "Trading", "Risk", "Notifications", "Appearance", "Your files", people.TAB]
names += [own_account.TAB] if app.signed else []
source, broker, orders, limits, notices, appearance, files, others, *own = st.tabs(
    names, key="tab", on_change="rerun", bind="query-params"
)
with source:
    preferences.data_source(app)
    feed_status.feed_status(app)
if broker.open:
    with broker:
        etrade.etrade(app)
if orders.open:
    with orders:
        arming.trading(app)
if limits.open:
    with limits:
        risk.risk(app)
if notices.open:
    with notices:
        channels.notifications(app)
with appearance:
    preferences.appearance(app)
with files:
    preferences.your_files(app)
if others.open:
    with others:
        people.people(app)
for tab in own:
    if tab.open:
        with tab:
            own_account.my_account(app)
