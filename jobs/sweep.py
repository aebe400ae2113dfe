"""Many small runs: `ray job submit ... -- python jobs/sweep.py RECIPE [--apply FILE] [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["sweep", *sys.argv[1:]]))
