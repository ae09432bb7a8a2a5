"""How a job takes the inputs of its rows: which frames, what becomes of another shape, where a file is too long."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from cosmos_ray.clip.family import PREDICT2, Family


class InputRules(BaseModel):
    """How the conditioning frames of a job's clips are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: Literal["resample", "as_is"] = "resample"
    """`resample`: frames at the row's `fps`, back from the last instant that all cameras have; `as_is`: the last frames
    as they are, as the published example takes them."""
    fit: Literal["crop", "pad", "stretch"] | None = None
    """What is done to pictures of another shape than the model's: their centre, black borders, or stretched; if left
    out, what the model's published pipeline does: `crop` for Predict2, `stretch` for Predict2.5."""
    max_frames: int = Field(100_000, ge=1)
    """A video with more frames is refused, unread."""

    _family: Family = PrivateAttr(default=PREDICT2)

    def of(self, family: Family) -> InputRules:
        """The same rules for clips of this family, which knows what to do where they say nothing."""
        rules = InputRules(**{name: getattr(self, name) for name in InputRules.model_fields})
        rules._family = family
        return rules

    @property
    def fitted(self) -> Literal["crop", "pad", "stretch"]:
        return self.fit or self._family.fit

    @property
    def takes_first(self) -> bool:
        """Whether frames are counted from the first one on, else back from the last."""
        return self._family.takes == "first"

    @property
    def numbered(self) -> tuple[int, int] | None:
        """The number of the first frame and how many are from one to the next, where these are taken whatever the rate
        of a video is."""
        return self._family.as_is if self.rate == "as_is" else None

    @property
    def chosen(self) -> dict[str, Any]:
        """What decides a clip and is not what the family does anyway, as JSON has it."""
        found = {"rate": self.rate, "fit": self.fitted}
        usual = {"rate": InputRules.model_fields["rate"].default, "fit": self._family.fit}
        return {name: value for name, value in found.items() if value != usual[name]}


#: As a job has them that says nothing.
DEFAULT_RULES = InputRules()
