"""What every part of a configuration has in common: frozen, unknown keys refused, a docstring per field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of a configuration; each field's docstring tells users what it is for, and its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
