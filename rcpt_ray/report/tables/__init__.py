"""The report's tables, as plain text cells."""
