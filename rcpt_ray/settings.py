"""The base of every settings class, and what of them defines a result.

Settings are frozen pydantic models that refuse unknown keys. A field marked `NOT_IN_FINGERPRINT` (pool sizes, workers,
batch sizes of inference, guards) changes where, how fast or whether a stage ends but not what it makes, so `defining`
leaves it out of fingerprints. A model is left out too: its checksum stands among a stage's inputs instead.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NOT_IN_FINGERPRINT = "not-in-fingerprint"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""What may become part of a file's name."""
PositiveInt = Annotated[int, Field(ge=1, le=10**12)]


def _own_resource(name: str) -> str:
    if name in ("memory", "object_store_memory"):
        raise ValueError(f"{name} is a resource of every machine; give the name of a custom one, such as training")
    return name


Machines = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$"), AfterValidator(_own_resource)] | None
"""The machines that a stage wants: those with a custom resource of this name in Ray; None takes any."""


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused; the sentence under a field is its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    def defining(self) -> dict[str, Any]:
        """The settings that define a result, as plain JSON values."""
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if NOT_IN_FINGERPRINT in field.metadata:
                continue
            values[name] = _plain(getattr(self, name))
        return values


class ModelSpec(Settings):
    """A model by reference."""

    reference: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f]+$"), NOT_IN_FINGERPRINT]
    """A Hugging Face hub id, a local folder, or a name that `rcpt models list` shows."""
    revision: Annotated[str | None, NOT_IN_FINGERPRINT] = None
    """A commit of the hub; null takes the newest at the first use."""
    instruction_tuned: Annotated[bool, NOT_IN_FINGERPRINT] = False
    """Whether the model was tuned to follow instructions; printed in every report."""
    trust_remote_code: Annotated[bool, NOT_IN_FINGERPRINT] = False
    """Run the Python files that come with a model whose architecture transformers does not know; manifests, the card
    and the report say so. Leave it unless you have read them."""


def _plain(value: Any) -> Any:
    match value:
        case Settings():
            return value.defining()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
