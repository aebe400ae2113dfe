"""Write the report: `ray job submit ... -- python jobs/report.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.cli import main

sys.exit(main(["report", *sys.argv[1:]]))
