"""Is this machine fit, is the recipe's cluster, and what is to be done."""
