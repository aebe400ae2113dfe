"""Everything, from corpus to report: `ray job submit ... -- python jobs/pipeline.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["run", *sys.argv[1:]]))
