"""Reasoning CPT: continual pretraining on texts joined with the hidden thoughts behind them.

A reader follows a document from corpus to score by opening the folders in order: corpus, thoughts,
mixture, training, evaluation, report. Importing this package loads nothing heavy.
"""

__version__ = "0.1.0"
