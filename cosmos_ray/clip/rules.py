"""How a job takes the inputs of its rows: which frames, what becomes of another shape, where a file is too long."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class InputRules(BaseModel):
    """How the conditioning frames of a job's clips are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rate: Literal["resample", "as_is"] = "resample"
    """`resample`: frames at the row's `fps`, back from the last instant that all cameras have; `as_is`: the last frames
    as they are, as the published example takes them."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What is done to pictures of another shape than the model's: their centre, black borders, or stretched."""
    max_frames: int = Field(100_000, ge=1)
    """A video with more frames is refused, unread."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What decides a clip and is not the default, as JSON has it."""
        names = {name for name in ("rate", "fit") if getattr(self, name) != InputRules.model_fields[name].default}
        return self.model_dump(include=names)


#: As a job has them that says nothing.
DEFAULT_RULES = InputRules()
