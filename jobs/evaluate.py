"""Measure the arms: `ray job submit ... -- python jobs/evaluate.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("evaluate", sys.argv[1:]))
