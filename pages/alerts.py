"""What people were told, what the programs of this desk logged, and what one person wants to be told of."""

import streamlit as st

from ui import alert_history, alert_log, dialogs, subscribing
from ui.session import open_page

app = open_page("Alerts")
dialogs.show(app)
st.title("Alerts")
names = ["History", "Log", "My subscriptions"]
told, logged, mine = st.tabs(names, key="tab", on_change="rerun", bind="query-params")
if told.open:
    with told:
        alert_history.history(app)
if logged.open:
    with logged:
        alert_log.log(app)
if mine.open:
    with mine:
        subscribing.mine(app)
