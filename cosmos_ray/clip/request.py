"""One clip's request, as a generator takes it: everything that decides the video, nothing left to fetch.

Legend for shape suffixes: V views, T frames, H/W height/width, C channels (RGB), M text tokens, D text width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_ray.clip.request_fields import check_fields, short

#: Camera names in the model's view order, clockwise from the front, the tele camera last.
VIEWS = ("front_wide", "cross_right", "rear_right", "rear", "rear_left", "cross_left", "front_tele")

#: The only view of a model of one: a video, or a picture.
VIDEO, PICTURE = "video", "picture"
#: All names of views, in the order in which a clip's are shown.
ALL_VIEWS = (*VIEWS, VIDEO, PICTURE)


def latent_frames_of(frames: int) -> int:
    """Latent frames that so many pixel frames fill: one the first, and one each four after it."""
    return 1 + (frames - 1) // 4 if frames else 0


#: Pixel frames that a clip can be conditioned on -> latent frames they fill.
LATENT_FRAMES = {frames: latent_frames_of(frames) for frames in (0, 1, 5)}

#: Positions of each view's text window; the model has no padding mask, so the number is part of the model.
TEXT_TOKENS = 512


def file_of(view: str) -> str:
    """Name of the file that a view becomes."""
    return f"{view}.png" if view == PICTURE else f"{view}.mp4"


@dataclass(frozen=True, repr=False)
class ClipText:
    """Text embeddings of one clip, one array a view, zero padding cut off.

    positive: V arrays float32 [M, D], M from 0 (a view without text) to TEXT_TOKENS.
    negative: the same for the unconditional branch; None means that there is no such branch: an empty negative
        prompt makes both branches equal, so guidance has nothing to act on.
    warnings: what was doubtful in the captions.
    """

    positive: tuple[np.ndarray, ...]
    negative: tuple[np.ndarray, ...] | None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return short(self)


@dataclass(frozen=True, repr=False)
class ClipRequest:
    """All that decides one clip's latents, given a bundle and its numerics.

    prompts: one caption (for view 0, as the published model expects) or one a view; empty if `text` was given.
    negative_prompt: text of the unconditional branch, for view 0; "" for no such branch.
    frames: conditioning frames uint8 [V, num_conditional_frames, H, W, 3], at the model's native size; None for 0.
    text: embeddings, once somebody has made them (`Generator.embed`).
    noise: what `models.noise.clip_noise` draws from the seed, where it was drawn ahead; None: when it is needed.
    chosen_views: n_views names of VIEWS, each once, in any order (or the one view of a model of one); empty for the
        first n_views.
    controls: frames of the control videos, uint8 [V, num_chunks * (F - o) + o, H, W, 3] with F frames a chunk, o of
        them shared with the chunk before, for a family that has them; control_weight: of what they say.
    num_chunks: how many times a family's clip is gone on with; each chunk begins with the last frames of the one
        before: chunk_overlap of them (None: as many as are the family's own).
    picture_text: embeddings for the picture that a clip begins with, where they are others than the video's.
    attempt: which try this is; never decides the result (the fake generator's faults can depend on it).

    Raises UsageError, naming the field, for a value of another kind than these.
    """

    id: str
    prompts: tuple[str, ...]
    negative_prompt: str
    n_views: int
    num_conditional_frames: int
    seed: int
    guidance: float
    num_steps: int
    frames: np.ndarray | None = None
    text: ClipText | None = None
    noise: np.ndarray | None = None
    attempt: int = 1
    chosen_views: tuple[str, ...] = ()
    controls: np.ndarray | None = None
    control_weight: float = 1.0
    num_chunks: int = 1
    chunk_overlap: int | None = None
    picture_text: ClipText | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        return short(self)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views that are made, in the order of everything else here."""
        return self.chosen_views or VIEWS[: self.n_views]

    @property
    def view_ids(self) -> tuple[int, ...]:
        """The network's own number of each view: a rear camera is one also where it is the second of two. 0 for the
        view of a model of one, which has no numbers."""
        return tuple(VIEWS.index(view) if view in VIEWS else 0 for view in self.views)
