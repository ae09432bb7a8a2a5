"""Every flag of every published command, alone: which settings and rows of the job it changes. And its words."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.surfaces import as_lines, assert_as_it_was, masked
from support.videos import moving_picture

from cosmos_ray.clip.encode import encode_mp4, encode_png
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.published import multiview, multiview25, text2image, text2world, transfer_multiview, video2world

COMMANDS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Callable[..., int], list[str]]] = {
    "multiview": (multiview.build_parser, multiview.main,
                  ["--prompt", "p", "--input_path", "seven.mp4", "--n_views", "7", "--save_path", "o/v.mp4"]),
    "video2world": (video2world.build_parser, video2world.main,
                    ["--prompt", "p", "--input_path", "a.png", "--save_path", "o/v.mp4"]),
    "text2image": (text2image.build_parser, text2image.main, ["--prompt", "p", "--save_path", "o/v.jpg"]),
    "text2world": (text2world.build_parser, text2world.main, ["--prompt", "p", "--save_path", "o/v.mp4"]),
    "multiview25": (multiview25.parser, multiview25.main, ["-i", "predict.json", "-o", "o"]),
    "transfer_multiview": (transfer_multiview.parser, transfer_multiview.main, ["-i", "transfer.json", "-o", "o"]),
}  # fmt: skip
#: Of flags that take a value, another than the default.
VALUES: dict[str, str] = {
    "prompt": "q", "input_path": "b.png", "negative_prompt": "grey", "guidance": "3", "seed": "9", "num_steps": "12",
    "save_path": "o/w.mp4", "num_gpus": "2", "n_views": "7", "fps": "10", "resolution": "480", "aspect_ratio": "9:16",
    "model_size": "14B", "num_conditional_frames": "5", "num_chunks": "3", "gr00t_variant": "gr1",
    "prompt_prefix": "x ",
    "dit_path": "d.pt", "dit_path_text2image": "d.pt", "dit_path_video2world": "e.pt", "model": "tiny", "device": "cpu",
    "guardrail_weights": "W", "llama_guard": "L", "refiner_endpoint": "http://h/v1", "refiner_model": "m",
    "batch_input_json": "batch.json", "lora_rank": "4", "lora_alpha": "8", "said_prompt": "q", "said_seed": "9",
    "said_prompt_path": "p.txt", "said_guidance": "2", "said_num_steps": "12", "said_fps": "12",
    "said_control_weight": "0.5", "said_num_chunks": "3", "said_chunk_overlap": "1",
    "said_inference_type": "text2world",
    "said_stack_mode": "height", "said_num_conditional_frames": "0", "checkpoint_path": "d.pt",
    "context_parallel_size": "2", "output_dir": "other", "input_files": "second.json", "llama-guard": "L",
}  # fmt: skip


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Where jobs would begin: what each was told, a line a setting and a row's column."""
    told: list[list[str]] = []

    def generate(config: Any, say: Any) -> Any:
        rows = pq.read_table(config.manifest).to_pylist()
        usual = GenerateConfig(manifest="m", output="o").model_dump(mode="json")
        said = as_lines(config.model_dump(mode="json"))
        lines = [*(line for line in said if line not in as_lines(usual)), *as_lines(rows, "rows")]
        told.append([re.sub(r"\b[0-9a-f]{16}\b", "(key)", line) for line in lines])
        raise UsageError("here")

    monkeypatch.setattr("cosmos_ray.job.job.generate", generate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(encode_png(moving_picture(1, 16, 32)[0]))
    Path("seven.mp4").write_bytes(encode_mp4(moving_picture(21, 16, 32), 10))
    Path("batch.json").write_text(json.dumps([
        {"input_video": "seven.mp4", "prompt": "one", "output_video": "o/1.mp4", "output_image": "o/1.jpg", "x": 1},
        {"input_video": "seven.mp4", "prompt": "two"}, {"input_video": "seven.mp4"}, "no object",
    ]))  # fmt: skip
    cameras = {view: {"video_path": f"in/{view}.mp4"} for view in VIEWS}
    controls = {view: {"input_path": f"{view}.mp4", "control_path": f"{view}_map.mp4"} for view in VIEWS[:2]}
    predict = {"name": "s", "prompt": "p", "inference_type": "video2world", **cameras}
    for name, spec in (("predict", predict), ("transfer", {"name": "s", "prompt": "p", **controls})):
        Path(f"{name}.json").write_text(json.dumps(spec))
    Path("p.txt").write_text("from a file")
    return told


@pytest.mark.parametrize("command", COMMANDS)
def test_what_each_flag_tells_the_job(command: str, job: list[list[str]], capsys: Any, tmp_path: Path) -> None:
    parser, main, usual = COMMANDS[command]
    lines: list[str] = []

    def ask(words: list[str]) -> list[str]:
        job.clear()
        capsys.readouterr()
        try:
            code = main([*usual, *words])
        except SystemExit as error:  # argparse's own, with its usage before
            code = int(str(error.code))
            return [f"-> {code}", capsys.readouterr().err.splitlines()[-1]]
        said = [f"! {line}" for line in capsys.readouterr().err.splitlines()]
        return [f"-> {code}", *said, *(job[0] if job else ())]

    plain = ask([])
    lines += plain
    for action in parser()._actions:
        flag = next((one for one in action.option_strings if one.startswith("--")), None)
        if flag is None or action.dest == "help":
            continue
        words = [flag] if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction) else None
        if words is None and action.dest in VALUES:
            words = [flag, VALUES[action.dest]]
        if words is None:
            continue
        found = ask(words)
        lines += [f"== {' '.join(words)}", *(f"  {line}" for line in found if line not in plain)]
        lines += [
            f"  without {line}" for line in plain if line not in found and line.partition(" = ")[0] not in names(found)
        ]
    assert_as_it_was(f"published/{command}.txt", masked("\n".join(lines), tmp_path))


def names(lines: list[str]) -> set[str]:
    return {line.partition(" = ")[0] for line in lines}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_words_of_each_flag(command: str) -> None:
    parser = COMMANDS[command][0]()
    lines = [f"{parser.prog}: {parser.description}"]
    lines += [f"{' '.join(one.option_strings)} {one.metavar or ''}: {one.help}" for one in parser._actions]
    assert_as_it_was(f"published/{command}_help.txt", "\n".join(lines))
