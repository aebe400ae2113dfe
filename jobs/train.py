"""Train the arms: `ray job submit ... -- python jobs/train.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
