"""What an account holds, what protects it, and what has traded."""

import streamlit as st

from ui import adopting, dialogs, differences, orders, positions
from ui.session import open_page

app = open_page("Positions")
positions.to_chart()
dialogs.show(app)
positions.style(app)
st.title("Positions")
account = positions.account()
if account is None:
    st.stop()
differences.cards(app, account)
positions.positions(app, account)
differences.outside(account)
positions.positions_file(app, account)
adopting.adopted_panel(app)
open_orders, fills, curve = st.tabs(["Open orders", "Fills", "Equity"])
with open_orders:
    orders.orders_of_the_day(app, account, key="pos_orders", only_open=True)
with fills:
    positions.fills(app, account)
with curve:
    positions.equity_curve(app, account)
