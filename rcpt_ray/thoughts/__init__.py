"""From documents to the hidden thoughts behind them: generate (paid) and select (free)."""
