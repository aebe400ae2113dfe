"""The report's plots, as SVG with words beside them."""
