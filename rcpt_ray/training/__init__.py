"""Continual pretraining: the plan, the feed, the DeepSpeed loop and its checkpoints."""
