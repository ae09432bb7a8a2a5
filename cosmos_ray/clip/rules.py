"""How a job takes the inputs of its rows: which frames, what becomes of another shape, where a file is too long."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class InputRules(BaseModel):
    """rate: `resample` takes conditioning frames at the row's `fps`, back from the last instant that all cameras have;
    `as_is` takes the last frames as they are, as the published example does.

    fit: what is done to pictures of another shape than the model's: `crop` their centre, `pad` them with black, or
    `stretch` them. max_frames: a video with more frames is refused, unread.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: Literal["resample", "as_is"] = "resample"
    fit: Literal["crop", "pad", "stretch"] = "crop"
    max_frames: int = Field(100_000, ge=1)

    @property
    def chosen(self) -> dict[str, Any]:
        """What decides a clip and is not the default, as JSON has it."""
        names = {name for name in ("rate", "fit") if getattr(self, name) != InputRules.model_fields[name].default}
        return self.model_dump(include=names)


#: As a job has them that says nothing.
DEFAULT_RULES = InputRules()
