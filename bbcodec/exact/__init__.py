"""Exact arithmetic: layers whose results are whole numbers, the same on every machine."""
