"""What the desk runs on: where candles come from, where orders go, how it looks, and the user's own files."""

import streamlit as st

from ui import arming, backups, channels, dialogs, etrade, feed_status, guide, keys, own_account, people, preferences
from ui import risk as limits_of
from ui.session import open_page

app = open_page("Settings")
dialogs.show(app)
st.title("Settings")
keys.doubts(app)
names = ["Data source", "E*TRADE", "Trading", "Risk", "Notifications", "Appearance", "Your files"]
names += [backups.TAB, people.TAB] + ([own_account.TAB] if app.signed else [])
source, broker, orders, limits, notices, appearance, files, kept, others, *own = st.tabs(
    names, key="tab", on_change="rerun", bind="query-params"
)
with source:
    preferences.data_source(app)
    feed_status.feed_status(app)
with appearance:
    preferences.appearance(app)
    guide.choice(app)
with files:
    preferences.your_files(app)
drawn_where_looked_at = [
    (broker, etrade.etrade),
    (orders, arming.trading),
    (limits, limits_of.risk),
    (notices, channels.notifications),
    (kept, backups.backups),
    (others, people.people),
    *((tab, own_account.my_account) for tab in own),
]
for tab, draw in drawn_where_looked_at:
    if tab.open:
        with tab:
            draw(app)
