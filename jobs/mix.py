"""Blend and pack what the arms train on: `ray job submit ... -- python jobs/mix.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("mix", sys.argv[1:]))
