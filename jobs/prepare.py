"""Prepare the corpus: `ray job submit ... -- python jobs/prepare.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("prepare", sys.argv[1:]))
