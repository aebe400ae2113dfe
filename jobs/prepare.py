"""Prepare the corpus: `ray job submit ... -- python jobs/prepare.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["prepare", *sys.argv[1:]]))
