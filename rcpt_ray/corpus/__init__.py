"""From files to clean, split, deterministic shards of documents."""
