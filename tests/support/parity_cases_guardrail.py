"""The kinds of golden cases of the guardrails, as `parity_cases` has those of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from cosmos_ray.models.guardrails.blocklist import LETTERS, MIN_CHARS, Censor, WordLists, matched, to_ascii
from cosmos_ray.models.guardrails.boxes import best, decode
from cosmos_ray.models.guardrails.pixelate import pixelate
from cosmos_ray.models.parallel import ContextParallel
from support.parity_case import Case, Check, Skip, largest


def run_blocklist(case: Case, _: ContextParallel) -> Iterator[Check]:
    """A verdict that is another one counts 1."""
    lists = WordLists(*(tuple(case.info[name]) for name in ("custom", "whitelist", "exact_match")))
    nearness = case.info.get("min_chars", MIN_CHARS), case.info.get("letter_count", LETTERS)
    try:
        censor = Censor(lists)
    except ImportError:
        raise Skip("better_profanity is not installed") from None
    for number, row in enumerate(case.info["rows"]):
        prompt = row["prompt"]
        plain = to_ascii(prompt)
        found = {"ascii": plain, "stage_c_kind": matched(plain, lists.exact, *nearness)}
        found["stage_c_unsafe"] = bool(found["stage_c_kind"])
        found["censored"] = censor.censored(plain)
        found["whitelist_restored"] = censor.restored(plain, found["censored"])
        found["stage_a_unsafe"] = censor.blocks(plain)
        unsafe = not prompt or found["stage_a_unsafe"] or found["stage_c_unsafe"]
        found["unsafe_without_stage_b"] = unsafe
        for name, value in found.items():
            if name in row:
                yield Check(f"{name} of row {number}", float(value != row[name]), 0)
        yield largest(f"row {number}", torch.tensor(float(unsafe)), case["out.unsafe"][number].float(), 0)


def run_face_blur(case: Case, _: ContextParallel) -> Iterator[Check]:
    """Given what the network answered: the boxes, and the frames with their regions pixelated."""
    frames_BHWC = case["in.frames_u8"].numpy().copy()
    boxes_BN4 = decode(case["in.loc"], case["in.priors"], *frames_BHWC.shape[1:3]).numpy()
    for number, frame_HWC in enumerate(frames_BHWC):
        boxes = best(boxes_BN4[number], case["in.face_confidence"][number].numpy())
        expected = case[f"inter.boxes_{number}"]
        yield Check(f"boxes of frame {number}", float(len(boxes) != len(expected)), 0)
        yield largest(f"boxes_{number}", torch.from_numpy(boxes), expected, 1e-3)
        blurred = pixelate(frame_HWC, boxes)
        if "boxes_blurred" in case.info:
            yield Check(f"blurred in frame {number}", float(blurred != case.info["boxes_blurred"][number]), 0)
    out_BHWC = case["out.frames_u8"].numpy()
    yield Check("frames", float(np.abs(frames_BHWC.astype(int) - out_BHWC).max()), 0)


KINDS_GUARDRAIL: dict[str, Callable[[Case, ContextParallel], Iterator[Check]]] = {
    "guardrail_blocklist": run_blocklist,
    "guardrail_face_blur": run_face_blur,
}
