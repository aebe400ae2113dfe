"""Many small runs: `ray job submit ... -- python jobs/sweep.py RECIPE [--apply FILE] [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("sweep", sys.argv[1:]))
