"""Sweeps: many small runs over mixtures, thought lengths and other settings, and what they say together."""
