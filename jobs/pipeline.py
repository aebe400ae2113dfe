"""Everything, from corpus to report: `ray job submit ... -- python jobs/pipeline.py RECIPE [key=value ...]`."""

import sys

from rcpt_ray.submission.job import run_job

sys.exit(run_job("run", sys.argv[1:]))
