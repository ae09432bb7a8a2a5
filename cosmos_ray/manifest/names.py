"""Columns that nearly have a name of ours: misspelt, or named as other tools name the same.

A manifest whose `steps` or `negativ_prompt` were only carried along would make other videos than it asks for, and say
nothing. A name that adds a word to one of ours (`prompt_id`, `source_fps`, `seed_source`) means something else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

#: What a row said before its prompt was refined ahead of any job; carried, as other columns that are not ours.
ORIGINAL_PROMPT = "original_prompt"
#: In the order in which a misspelt name is compared with them.
OURS = (
    "id",
    "prompt",
    "negative_prompt",
    "prompt_embedding",
    "input_video",
    "input_videos",
    "input_frames",
    "control_videos",
    "control_weight",
    "num_chunks",
    "chunk_overlap",
    "views",
    "n_views",
    "num_conditional_frames",
    "num_steps",
    "num_samples",
    "guidance",
    "seed",
    "fps",
)
#: Where a clip may begin.
INPUTS = ("input_video", "input_videos", "input_frames")
#: Columns that have a value a camera, or may have.
BY_CAMERA = ("input_videos", "input_frames", "control_videos")

#: What other tools call our columns. Where ours is there as well, theirs is something that is only carried along.
_ALIASES: dict[tuple[str, ...], str] = {
    ("id",): "ids name uid uuid key clip_id clip_name row_id",
    ("prompt", "prompt_embedding"): "caption captions text texts prompt_text text_prompt positive_prompt prompt_path "
    "caption_text text_prompts",
    ("prompt_embedding",): "prompt_embeds prompt_embed prompt_emb text_embedding text_embeddings t5_embedding "
    "text_embeds t5_emb embedding_path",
    ("negative_prompt",): "negative neg_prompt n_prompt uncond_prompt negative_text negative_caption "
    "negative_text_prompt neg_text",
    INPUTS: "video videos video_path video_paths video_uri video_url input_path input_paths input_uri input "
    "input_video_path input_video_paths input_video_uri input_video_file conditioning_video source_video video_file "
    "video_files video_uris video_urls",
    ("input_frames", *INPUTS): "image images image_path image_paths input_image input_images input_image_path frames "
    "frame_paths",
    ("num_conditional_frames",): "num_frames n_frames num_input_frames num_cond_frames num_conditioning_frames "
    "num_latent_conditional_frames conditional_frames conditioning_frames cond_frames condition_frames "
    "num_condition_frames n_cond_frames num_input_frame inference_type",
    ("control_videos",): "control_video control_path control_paths control_video_path hdmap_videos hdmap_video",
    ("num_steps",): "steps num_inference_steps inference_steps sampling_steps num_sampling_steps denoising_steps "
    "n_steps sample_steps diffusion_steps num_inference_step inference_step sampler_steps",
    ("guidance",): "guidance_scale cfg cfg_scale guidance_strength guidance_weight guidance_value "
    "guidance_factor true_cfg_scale",
    ("seed",): "random_seed rng_seed noise_seed manual_seed rand_seed random_state",
    ("num_samples",): "n_samples samples num_outputs num_videos num_videos_per_prompt num_images_per_prompt "
    "samples_per_prompt sample_count",
    ("fps",): "frame_rate framerate frames_per_second target_fps output_fps",
    ("control_weight",): "control_strength control_scale",
    ("num_chunks",): "n_chunks chunks",
    ("chunk_overlap",): "overlap_frames num_overlap_frames n_overlap_frames",
    ("views", "n_views"): "camera cameras camera_names view_names camera_views camera_list view_list",
    ("n_views", "views"): "num_views n_cameras num_cameras view_count num_view",
}
_NUMBERS = frozenset(
    {
        "n_views",
        "num_conditional_frames",
        "num_steps",
        "num_samples",
        "num_chunks",
        "chunk_overlap",
        "control_weight",
        "guidance",
        "seed",
        "fps",
    }
)
_JOINED = {ours.replace("_", ""): ours for ours in OURS}
_OURS_OF = {_alias.replace("_", ""): _ours for _ours, _aliases in _ALIASES.items() for _alias in _aliases.split()}

#: Words that are one letter off ours, and are what they are.
_OTHER_WORDS = frozenset({"speed", "seen", "send", "feed", "need", "shed", "gps", "num_stops", "reviews"})
_LEAST_LETTERS = 4
_LONG = 12
_LONG_RATIO = 0.88


def near_column(name: str, names: Collection[str], holds_numbers: bool = False) -> str | None:
    """The column of ours that `name`, one of a manifest's `names`, was probably meant to be; None if there is none.

    holds_numbers: so it is no text, video or picture under another tool's name (`frames` may count them).
    """
    if name in OURS:
        return None
    words = _words(name)
    joined = "".join(words)
    for written in (joined, f"{joined}s", joined.removesuffix("s")):
        if written in _JOINED and (written == joined or len(joined) >= _LEAST_LETTERS):
            return _JOINED[written]
    theirs = _OURS_OF.get(joined, ())
    if theirs and not set(theirs) & set(names) and (theirs[0] in _NUMBERS or not holds_numbers):
        return theirs[0]
    if "_".join(words) in _OTHER_WORDS:
        return None
    return next((ours for ours in OURS if _is_misspelt(words, _words(ours))), None)


def _words(name: str) -> list[str]:
    """`numSteps`, `num-steps` and `Num steps ` are all num, steps."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.findall(r"[^\W_]+", spaced.lower())


def _is_misspelt(found: list[str], ours: list[str]) -> bool:
    if len(found) > len(ours) and any(found[at : at + len(ours)] == ours for at in range(len(found))):
        return False
    one, other = "".join(found), "".join(ours)
    if any(letter.isdigit() for letter in one) or len(other) < _LEAST_LETTERS:
        return len(one) > 1 and sorted(one) == sorted(other)
    if _is_one_letter_off(one, other):
        return True
    return len(other) >= _LONG and difflib.SequenceMatcher(None, one, other).ratio() >= _LONG_RATIO


def _is_one_letter_off(one: str, other: str) -> bool:
    """One letter more, less or different, or two that changed places."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    rest, expected = one[same:], other[same:]
    return (
        rest[1:] == expected[1:]
        or rest[1:] == expected
        or rest == expected[1:]
        or (rest[:2] == expected[:2][::-1] and rest[2:] == expected[2:])
    )
