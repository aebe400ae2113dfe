"""Write and select the thoughts: `ray job submit ... -- python jobs/synthesize.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["synthesize", *sys.argv[1:]]))
