"""From documents and thoughts to packed rows of tokens: layout, blend, pack."""
