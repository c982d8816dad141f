"""The front door: which pages exist and in which order.

    streamlit run streamlit_dashboard.py

Streamlit reads this file twice: the server imports it for `app`, and each visit runs it as the script `__main__`.
"""

import streamlit as st

import bootstrap
from ui import keys, own_account, people, sign_in
from ui.live import OWN_HOSTS_ONLY, ROUTES
from ui.session import PAGES

if __name__ == "__main__":
    st.navigation([st.Page(**page) for page in PAGES], position="top").run()
else:
    app = st.App(
        __file__,
        lifespan=bootstrap.lifespan,
        routes=[*ROUTES, *sign_in.ROUTES, *keys.ROUTES, *people.ROUTES, *own_account.ROUTES],
        middleware=[OWN_HOSTS_ONLY, sign_in.DOORKEEPER],
    )
