"""Jobs on a cluster: `rcpt submit`, `rcpt attach`, `rcpt stop`, `rcpt jobs`, and what of them runs there.

A recipe is checked and packed here (pack.py), sent by Ray's own client (on_ray.py), run there (job.py, which finds the
secrets that were named, secrets.py), and its log is followed from here (follow.py) for as long as somebody looks.
"""
