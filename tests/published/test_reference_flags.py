"""docs/reference-flags.md: a row a flag of each published command line, and what it does here."""

from __future__ import annotations

import argparse
import re

import pytest
from support.paths import ROOT

from cosmos_ray.published import multiview, text2image, text2world, video2world

PAGE = (ROOT / "docs" / "reference-flags.md").read_text()
PARSERS = {
    "multiview": multiview.build_parser(),
    "video2world": video2world.build_parser(),
    "text2image": text2image.build_parser(),
    "text2world": text2world.build_parser(),
}
#: Of the published command lines, by the tables of the facts; G and L are `video2world_gr00t` and `video2world_lora`.
_COMMON = (
    "model_size prompt negative_prompt aspect_ratio batch_input_json seed save_path disable_guardrail "
    "offload_guardrail benchmark use_cuda_graphs"
)
_VIDEO = "resolution fps guidance num_gpus disable_prompt_refiner offload_prompt_refiner natten"
_ENCODER = "offload_text_encoder downcast_text_encoder"
PUBLISHED = {
    "multiview": f"{_COMMON} {_VIDEO} dit_path input_path num_conditional_frames n_views distill_steps "
    "dit_path_text2image dit_path_video2world",
    "video2world": f"{_COMMON} {_VIDEO} {_ENCODER} dit_path load_ema input_path num_conditional_frames num_chunks "
    "gr00t_variant prompt_prefix use_lora lora_rank lora_alpha lora_target_modules init_lora_weights num_generations "
    "num_critic_trials skip_generation checkpoint_dir text2image_edit_strength video2world_edit_strength "
    "input_annotation chunk_size autoregressive",
    "text2image": f"{_COMMON} dit_path load_ema distill_steps use_fast_tokenizer",
    "text2world": f"{_COMMON} {_VIDEO} {_ENCODER} dit_path_text2image dit_path_video2world load_ema distill_steps",
}
VERDICTS = {"works", "better", "no effect", "refused", "ours", "–"}


def rows() -> dict[str, dict[str, str]]:
    """What the table says of each flag, by command."""
    lines = re.findall(r"^\| `--(\w+)` \|(.+)\|$", PAGE, re.MULTILINE)
    found = {flag: [cell.strip() for cell in cells.split("|")] for flag, cells in lines}
    assert len(found) == len(lines), "a flag has one row"
    return {flag: dict(zip([*PARSERS, "words"], cells, strict=True)) for flag, cells in found.items()}


def flags_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {action.dest: action for action in parser._actions if action.dest != "help"}


def test_every_flag_has_a_row_and_every_row_a_flag() -> None:
    table = rows()
    assert set(table) == {flag for parser in PARSERS.values() for flag in flags_of(parser)}
    assert {verdict for row in table.values() for verdict in list(row.values())[:-1]} <= VERDICTS


@pytest.mark.parametrize("command", PARSERS)
def test_a_command_has_the_flags_that_the_table_says(command: str) -> None:
    said = {flag for flag, row in rows().items() if row[command] != "–"}
    assert said == set(flags_of(PARSERS[command]))


@pytest.mark.parametrize("command", PARSERS)
def test_every_published_flag_is_there_and_ours_are_called_so(command: str) -> None:
    published = set(PUBLISHED[command].split())
    ours = {flag for flag, row in rows().items() if row[command] == "ours"}
    assert published | ours == set(flags_of(PARSERS[command]))
    assert not published & ours


@pytest.mark.parametrize("command", PARSERS)
def test_what_has_no_effect_or_is_refused_says_so_in_its_help(command: str) -> None:
    for flag, action in flags_of(PARSERS[command]).items():
        verdict, words = rows()[flag][command], str(action.help)
        assert (verdict == "no effect") == ("without effect" in words), (flag, verdict, words)
        assert (verdict == "refused") == words.startswith("refused"), (flag, verdict, words)


def test_what_is_better_or_refused_says_how_or_why() -> None:
    for flag, row in rows().items():
        if {"better", "refused", "no effect"} & set(row.values()):
            assert len(row["words"].split()) >= 4 or row["words"].startswith("the same"), flag
