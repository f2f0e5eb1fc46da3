"""Streamlit pages that show what training runs cost, while they train."""
