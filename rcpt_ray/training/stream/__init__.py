"""The streaming feed: training on thoughts while they are being written."""
