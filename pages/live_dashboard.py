"""Live candlesticks of the watched symbols with the order ticket beside them, the day's orders, and the patterns."""

import streamlit as st

from ui import dialogs, forms, guide, moved_lines, panels, ticket
from ui.components import live_chart
from ui.session import open_page

app = open_page("Live dashboard")
dialogs.show(app)
symbol = forms.watch_strip(app)
if not symbol:
    panels.nothing_watched(app)
    st.stop()
guide.strip(app, symbol)
chart, order = ticket.beside_the_chart(app)
with chart:
    query = {"symbol": symbol, **forms.chart_controls(app)}
    live_chart(query, key="desk_chart", height=panels.chart_height(query), **moved_lines.callbacks(app))
    panels.chart_notes(app, query)
with order:
    ticket.order_ticket(app, symbol)
panels.pattern_panels(app, query)
