"""`python -m rcpt_ray` is the `rcpt` command."""

import sys

from rcpt_ray.cli import main

sys.exit(main())
