"""One finding of `rcpt doctor`."""

from dataclasses import dataclass

from rcpt_ray.redact import printable


@dataclass(frozen=True)
class Check:
    """What was looked at and what was found; where it is not well, `fix` says what to do."""

    name: str
    well: bool
    found: str
    fix: str = ""

    @property
    def line(self) -> str:
        """The finding as it is printed."""
        mark = "ok " if self.well else "FIX"
        return printable(f"{mark}  {self.name:24} {self.found}" + ("" if self.well else f"; {self.fix}"))
