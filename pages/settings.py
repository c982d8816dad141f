"""What the desk runs on: where candles come from, how it looks, and which of the user's files it reads."""

import streamlit as st

from ui import preferences
from ui.session import open_page

app = open_page("Settings")
st.title("Settings")
source, appearance, files = st.tabs(["Data source", "Appearance", "Your files"])
with source:
    preferences.data_source(app)
with appearance:
    preferences.appearance(app)
with files:
    preferences.your_files(app)
