"""Sources as rows: files wherever they are, cut into pieces, their formats and columns."""
