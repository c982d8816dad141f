"""A small dashboard behind the real door: Streamlit's own server, our routes, and a page that tells a figure.

streamlit run tests/signed_door.py
"""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from ui import sign_in
from ui.live import OWN_HOSTS_ONLY, ROUTES

FIGURE = "4711.08"

if __name__ == "__main__":
    sign_in.guard()
    st.metric("Equity", FIGURE)
else:
    app = st.App(__file__, routes=[*ROUTES, *sign_in.ROUTES], middleware=[OWN_HOSTS_ONLY, sign_in.DOORKEEPER])
