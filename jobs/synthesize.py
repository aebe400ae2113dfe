"""Write and select the thoughts: `ray job submit ... -- python jobs/synthesize.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("synthesize", sys.argv[1:]))
