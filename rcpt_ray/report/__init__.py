"""Tables, plots and one self-contained page, made from manifests and rows alone."""
