"""Settings of a sweep: what is tried, how it is judged, and how much it may take."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from rcpt_ray.comparison import Seed
from rcpt_ray.settings import PositiveInt, Settings, Share

STAGE_VERSION = 1


class ValuesAxis(Settings):
    """A setting that takes one of a few values."""

    values: list[Any] = Field(min_length=2)
    """The values; numbers are an axis of the response surface, anything else stands for itself."""

    @model_validator(mode="after")
    def _differ(self) -> "ValuesAxis":
        for value in self.values:
            if isinstance(value, dict | list):
                raise ValueError(f"values: {value} is no single value; sweep the settings below it one by one")
            if self.values.count(value) > 1:
                raise ValueError(f"values={self.values} holds {value} twice; each is tried once")
        return self

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers, so that there is something between them."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)


class RangeAxis(Settings):
    """A setting that takes any number between two."""

    low: float
    """The least value."""
    high: float
    """The largest value."""
    scale: Literal["linear", "log"] = "linear"
    """log spreads the trials over factors, as for a learning rate."""
    integer: bool = False
    """Whole numbers only."""
    levels: int = Field(default=4, ge=2, le=1000)
    """Values of it in a grid, from low to high."""

    @model_validator(mode="after")
    def _has_an_inside(self) -> "RangeAxis":
        if self.low >= self.high:
            raise ValueError(f"low={self.low:g} must be below high={self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low={self.low:g} must be above 0 with scale=log")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError(f"low={self.low:g} and high={self.high:g} must be whole numbers with integer=true")
        return self


class SimplexAxis(Settings):
    """Shares that sum to 1, for mixture.weights."""

    components: list[str] = Field(min_length=2)
    """What shares: source/kind, as in mixture.weights."""
    step: float = Field(default=0.05, ge=0.001, le=0.5)
    """Shares are multiples of it; a grid holds all such points, so give it a larger step such as 0.25."""
    least: Share = 0.0
    """No share is below it."""

    @model_validator(mode="after")
    def _has_points(self) -> "SimplexAxis":
        for component in self.components:
            if self.components.count(component) > 1:
                raise ValueError(f"components={self.components} holds {component} twice; name each once")
        for name in ("step", "least"):
            steps = (1.0 if name == "step" else self.least) / self.step
            if abs(steps - round(steps)) > 1e-6:
                whole = "1 must be" if name == "step" else f"least={self.least:g} must be"
                raise ValueError(f"step={self.step:g}: {whole} a multiple of it")
        if self.least * len(self.components) >= 1:
            raise ValueError(f"least={self.least:g} for each of {len(self.components)} components leaves no choice")
        return self


def _form(value: Any) -> str:
    match value:
        case dict():
            return "simplex" if "components" in value else "values" if "values" in value else "range"
        case ValuesAxis():
            return "values"
        case SimplexAxis():
            return "simplex"
        case _:
            return "range"


Axis = Annotated[
    Annotated[ValuesAxis, Tag("values")] | Annotated[RangeAxis, Tag("range")] | Annotated[SimplexAxis, Tag("simplex")],
    Discriminator(_form),
    # A list is short for its values.
    BeforeValidator(lambda value: {"values": value} if isinstance(value, list) else value),
]


class ObjectiveSpec(Settings):
    """One figure that a trial is judged by: a weighted sum of what the evaluation measured."""

    measures: dict[str, float] = Field(min_length=1)
    """Weights of measures, named task/metric or task/metric/domain: heldout/bits_per_byte/stem, quiz/acc."""
    goal: Literal["minimize", "maximize"] = "minimize"
    """Which way is better."""

    @model_validator(mode="after")
    def _names_measures(self) -> "ObjectiveSpec":
        for name, weight in self.measures.items():
            if not 2 <= len(name.split("/")) <= 3 or not all(name.split("/")):
                raise ValueError(f"measures.{name} must be named task/metric or task/metric/domain")
            if not weight:
                raise ValueError(f"measures.{name}=0 counts for nothing; leave it out")
        return self


class BudgetSpec(Settings):
    """When no more trials are begun; those that run then end as they would."""

    trials: PositiveInt | None = None
    """Trials in all, a point with two seeds being two; null is for a grid, which has an end of its own."""
    gpu_hours: float | None = Field(default=None, gt=0.0)
    """Hours of GPUs that the trials' stages took, each stage counted once."""
    cost: float | None = Field(default=None, gt=0.0)
    """What the trials' stages cost, in the currency of price_per_engine_hour."""


class EarlyStopSpec(Settings):
    """When a trial's training is given up (median stopping): by held-out bits per byte while it trains."""

    after_share: Share = 0.3
    """No training is given up before this share of its steps."""
    min_others: PositiveInt = 3
    """Trainings that must have come as far before one is compared with them."""


class SweepSpec(Settings):
    """Many trials of one arm, each the recipe with a few settings changed."""

    arm: str
    """The arm that is swept; the others have no part in it."""
    space: dict[str, Axis] = Field(min_length=1)
    """What is tried, by the dotted name of a setting: a list of values, low and high, or for mixture.weights components
    that share 1 among them."""
    searcher: Literal["grid", "random", "optuna"] = "grid"
    """grid tries every combination; random spreads points evenly (a scrambled Sobol sequence); optuna looks more
    closely where it went well."""
    objectives: dict[str, ObjectiveSpec] = Field(
        default_factory=lambda: {"bits per byte": ObjectiveSpec(measures={"heldout/bits_per_byte": 1.0})}, min_length=1
    )
    """What trials are judged by, by name; with several, the trials that none beats in all are shown (Pareto front),
    and the first one is what `--apply` goes by."""
    seeds: list[Seed] | None = Field(default=None, max_length=200)
    """Every point is tried with each of these; null takes those of the comparison, else the recipe's seed. Two or more
    tell noise from effect."""
    budget: BudgetSpec = BudgetSpec()
    """When no more trials are begun."""
    max_concurrent: PositiveInt | None = None
    """Trials at once; null takes as many as the cluster has room for, with one more where machines come on demand."""
    early_stop: EarlyStopSpec | None = None
    """Give up trainings that fall behind; null finishes every one. Needs training.watch.heldout_every_steps."""
    proxy: dict[str, Any] = Field(default_factory=dict)
    """Dotted settings that make the trials cheaper than the recipe itself, such as fewer tokens or a smaller student.
    Small proxies rank mixtures badly, which the report says."""
    confidence: float = Field(default=0.9, gt=0.5, lt=1.0)
    """How often intervals hold what they are of."""
    add_baselines: bool = True
    """Try the recipe's own settings too and, where shares are swept, equal ones: a baseline that is hard to beat."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> "SweepSpec":
        if self.searcher != "grid" and self.budget.trials is None:
            raise ValueError(f"sweep.budget.trials is missing; searcher={self.searcher} has no end of its own")
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError(f"sweep.seeds={self.seeds} must name at least one seed, and each once")
        for name, axis in self.space.items():
            if isinstance(axis, SimplexAxis) != (name == "mixture.weights"):
                raise ValueError(
                    f"sweep.space.{name}: components are for mixture.weights, and mixture.weights needs components"
                )
        if both := self.space.keys() & self.proxy.keys():
            raise ValueError(f"sweep.proxy.{min(both)} is swept too; leave it out of one of them")
        return self
