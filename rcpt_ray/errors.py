"""Exceptions that are told in one sentence: mistakes that a user can mend, and work that stopped itself."""


class UserError(ValueError):
    """A mistake in a recipe, a path or an input, told in one sentence.

    The sentence names the setting, its value, the rule it broke and the way out. The command line prints it without
    a traceback and exits with code 2; any other exception is a defect of ours and keeps its traceback.
    """


class WorkStopped(RuntimeError):
    """Work ended itself because going on is useless, told in one sentence; exit code 1."""
