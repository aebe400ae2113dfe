"""A job that tells the digest of its secret as its driver, a task and an actor see it, then waits to be stopped."""

import hashlib
import os
import threading

import ray

from rcpt_ray.submission.secrets import load_secrets

SECRET = "RCPTTEST_SECRET"


def digest() -> str:
    """Of the secret in this process."""
    return hashlib.sha256(os.environ[SECRET].encode()).hexdigest()


@ray.remote
class Actor:
    """Another process."""

    def digest(self) -> str:
        """The secret's, there."""
        return digest()


load_secrets()
print("driver", digest())
ray.init()
print("task", ray.get(ray.remote(digest).remote()))
print("actor", ray.get(Actor.remote().digest.remote()))
print("waiting", flush=True)
threading.Event().wait()
