"""The parity command itself, on the golden cases that travel with the repository."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parity import Outcome, main, network_cases, run_case, run_cases
from safetensors.torch import load_file, save_file
from support.parity_case import Case, Check
from support.parity_cases import KINDS, NETWORK_KINDS
from support.parity_cases25 import run_autoregressive
from support.paths import GOLDEN
from support.thread_ranks import run_threads

from cosmos_ray.models.parallel import ContextParallel

CASES = sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_package_agrees_with_the_reference(path: Path) -> None:
    outcome = run_case(path, ContextParallel())
    assert outcome.verdict == "ok", str(outcome)


@pytest.mark.slow
def test_two_ranks_agree_with_the_reference() -> None:
    outcomes = list(run_cases(GOLDEN, world_size=2))
    assert sorted(outcome.case for outcome in outcomes) == [path.stem for path in CASES]
    others = {outcome.case: f"{outcome.verdict} ({outcome.note})" for outcome in outcomes if outcome.verdict != "ok"}
    assert others == {
        "ar25_2v_3chunks": "SKIP (2 heads and 3 tokens a view fit ranks [1])",
        "distill_t2i_4steps": "SKIP (2 heads and 9 tokens a view fit ranks [1])",
        "dit_t2i_b2": "SKIP (1 heads and 20 tokens a view fit ranks [1])",
        "dit_v2w_cond1_bf16": "SKIP (1 heads and 60 tokens a view fit ranks [1])",
        "loop_t2i_noneg_4steps": "SKIP (1 heads and 12 tokens a view fit ranks [1])",
    }


def test_network_kinds_are_kinds() -> None:
    assert KINDS.keys() > NETWORK_KINDS


def copy_case(folder: Path, name: str, **changes: object) -> Path:
    """A copy of a golden case whose JSON says something else."""
    info = json.loads((GOLDEN / f"{name}.json").read_text()) | changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps(info))
    path.with_suffix(".safetensors").write_bytes((GOLDEN / f"{name}.safetensors").read_bytes())
    return path


def test_a_wrong_number_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy_case(tmp_path, "scheduler_ab2")
    tensors = load_file(path.with_suffix(".safetensors"))
    tensors["n10.x_after_step"][7] += 1e-3
    save_file(tensors, path.with_suffix(".safetensors"))
    assert main([str(tmp_path)]) == 1
    line = capsys.readouterr().out
    assert line.startswith("scheduler_ab2 0.001 0.0001 FAIL (x after step 7 of 10)")


def test_a_nan_fails() -> None:
    assert not Check("out", float("nan"), 1.0).ok


def test_an_unknown_kind_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_case(tmp_path, "noise", kind="astrology")
    assert main([str(tmp_path)]) == 1
    assert "noise - - FAIL (unknown kind 'astrology'" in capsys.readouterr().out


def test_a_broken_case_fails_and_the_others_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_case(tmp_path, "noise", specs=[{"index": 0, "seed": 0, "shape": [9]}])
    copy_case(tmp_path, "rope")
    assert main([str(tmp_path)]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("noise - - FAIL (ValueError: 0.full: found shape [9]")
    assert second.endswith("0.0001 ok")


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1


def test_ranks_that_do_not_fit_are_skipped_with_the_reason() -> None:
    """2 heads: a gang of 3 cannot run the case, which is no failure; the network is never started."""
    outcome = run_case(GOLDEN / "loop_7v_cond1_4steps.json", ContextParallel(0, 3))
    assert (outcome.verdict, outcome.note) == ("SKIP", "2 heads and 8 tokens a view fit ranks [1, 2]")


#: A network call, a whole loop, and what each family does in its own way; each of ten milliseconds and some.
REPEATED = {
    4: ["loop_7v_cond1_4steps", "dit_v2w_fpsmod_b2", "loop_t2i_noneg_4steps", "dit25_7v_cond1_bf16"],
    8: ["loop_cp2_3v_cond1", "loop_7v_cond1_4steps"],
}


@pytest.mark.parametrize(("ranks", "name"), [(ranks, name) for ranks, names in REPEATED.items() for name in names])
def test_gangs_that_two_heads_do_not_fit_agree_where_heads_are_repeated(ranks: int, name: str) -> None:
    def compared(parallel: ContextParallel) -> Outcome:
        with torch.no_grad():
            return run_case(GOLDEN / f"{name}.json", parallel, repeats_heads=True)

    for outcome in run_threads(ranks, compared):
        assert outcome.verdict == "ok", str(outcome)


def test_repeated_heads_do_not_make_tokens_fit() -> None:
    outcome = run_case(GOLDEN / "dit_t2i_b2.json", ContextParallel(0, 8), repeats_heads=True)
    assert (outcome.verdict, outcome.note) == (
        "SKIP", "1 heads (each 8 times over) and 20 tokens a view fit ranks [1, 2, 4]",
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("ranks", [4, 8])
def test_real_gangs_of_four_and_eight_agree_where_tokens_fit(ranks: int) -> None:
    outcomes = list(run_cases(GOLDEN, ranks, repeats_heads=True))
    left = {outcome.case: str(outcome) for outcome in outcomes if outcome.verdict != "ok"}
    assert all("SKIP" in line and "tokens a view fit" in line for line in left.values()), left
    assert len(network_cases(GOLDEN)) - len(left) >= (10 if ranks == 4 else 4)


@pytest.mark.long
def test_how_many_cases_a_gang_compared_is_told_where_it_skips_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 heads: 3 ranks compare nothing of the network, which must not look like agreement."""
    copy_case(tmp_path, "loop_7v_cond1_4steps")
    copy_case(tmp_path, "rope")
    assert main([str(tmp_path), "--context-parallel", "3"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "0 of 1 network cases compared; --repeat-heads compares all whose tokens fit"


def test_a_line_has_case_error_tolerance_and_verdict() -> None:
    assert str(Outcome("a_case", "ok", Check("out", 1.234e-6, 2e-5))) == "a_case 1.23e-06 2e-05 ok"


def test_golden_numbers_are_finite() -> None:
    """A NaN among the expected numbers would fail every case; one among the inputs could hide a difference."""
    for path in CASES:
        for name, tensor in load_file(path.with_suffix(".safetensors")).items():
            assert torch.isfinite(tensor.float()).all(), f"{path.stem}: {name}"


def test_chunks_may_have_more_frames_in_common_than_there_are_latent_ones() -> None:
    """As published, so many latent frames are given, and no more than a chunk has."""
    case = Case.read(GOLDEN / "ar25_2v_3chunks.json")
    said = {"chunk_overlap": 5, "num_chunks": 2, "steps": 1}
    two = case.tensors | {"chunk_video_in_u8": case["chunk_video_in_u8"][:2]}
    with torch.no_grad():
        checks = run_autoregressive(replace(case, info=case.info | said, tensors=two), ContextParallel())
        assert next(checks).name == "bytes of chunks"
