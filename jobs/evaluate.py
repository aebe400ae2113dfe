"""Measure the arms: `ray job submit ... -- python jobs/evaluate.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
