"""Distributions that can be learned with floats and coded with integers."""
