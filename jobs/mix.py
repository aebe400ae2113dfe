"""Blend and pack what the arms train on: `ray job submit ... -- python jobs/mix.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["mix", *sys.argv[1:]]))
