"""Train the arms: `ray job submit ... -- python jobs/train.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("train", sys.argv[1:]))
