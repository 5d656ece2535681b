"""Scores with intervals, floors and trivial baselines."""
