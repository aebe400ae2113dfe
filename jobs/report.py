"""Write the report: `ray job submit ... -- python jobs/report.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("report", sys.argv[1:]))
