"""Scores of a model by lm-eval: questions answered by likelihood, held-out bits per byte."""
