"""The front door: which pages exist and in which order.

    streamlit run streamlit_dashboard.py

Streamlit reads this file twice: the server imports it for `app`, and each visit runs it as the script `__main__`.
"""

import streamlit as st

import bootstrap
from ui import heard, keys, own_account, people, sign_in
from ui.first_paint import FIRST_PAINT
from ui.live import OWN_HOSTS_ONLY, ROUTES
from ui.session import PAGES

if __name__ == "__main__":
    st.navigation([st.Page(**page) for page in PAGES], position="top").run()
else:
    heard.install()
    app = st.App(
        __file__,
        lifespan=bootstrap.lifespan,
        routes=[*ROUTES, *sign_in.ROUTES, *keys.ROUTES, *people.ROUTES, *own_account.ROUTES],
        middleware=[OWN_HOSTS_ONLY, sign_in.DOORKEEPER, FIRST_PAINT],
    )
