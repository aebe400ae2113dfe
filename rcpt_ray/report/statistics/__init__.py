"""How sure a figure is: means over items and seeds, paired differences, corrections for many comparisons."""
