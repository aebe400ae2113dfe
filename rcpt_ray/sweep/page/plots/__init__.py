"""The sweep's plots, in the style of the report's."""
