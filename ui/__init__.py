"""What pages are made of. Figures know nothing of Streamlit; components know nothing of markets."""
