"""Work folders and merged networks of the published commands: another name for whatever decides what is in them.

The same command goes on with what it has begun; one that differs in anything that decides a clip begins anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.videos import moving_picture

from cosmos_ray.clip.encode import encode_png
from cosmos_ray.errors import UsageError
from cosmos_ray.manifest.builders.inference_specs import PredictSpec, TransferSpec, read_specs
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.published import (
    adapters,
    inference,
    multiview,
    multiview25,
    one_view,
    text2world,
    transfer_multiview,
    video2world,
)
from cosmos_ray.published.options import check_results, say_times

VIEWS = ("front_wide", "rear")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# --- specs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """Of Transfer2.5, with all that it may name as files."""
    for name in ("p.txt", "dit.pt", *(f"{view}{end}.mp4" for view in VIEWS for end in ("", "_map"))):
        (tmp_path / name).write_text("A street.")
    cameras = {view: {"input_path": f"{view}.mp4", "control_path": f"{view}_map.mp4"} for view in VIEWS}
    return {"name": "a", "prompt_path": "p.txt", **cameras}


def folder_of(tmp_path: Path, said: dict[str, Any], *flags: str, rules: Any = inference.OFF) -> str:
    (tmp_path / "s.json").write_text(json.dumps(said))
    words = ["-i", str(tmp_path / "s.json"), "-o", str(tmp_path / "out"), *flags]
    given = transfer_multiview.parser().parse_args(words)
    found = read_specs(given.input_files, TransferSpec, inference.overrides_of(given))
    return inference.work_folder(given, found, rules)


def test_a_specs_work_folder_is_of_all_that_the_spec_says_and_of_the_files_that_it_names(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    """Each file that is written anew under its name is another one: prompt, inputs, controls."""
    folders = [folder_of(tmp_path, spec)]
    for more in ({"seed": 1}, {"num_steps": 7}, {"guidance": 1}, {"control_weight": 0.5}, {"name": "b"}):
        folders.append(folder_of(tmp_path, spec | more))
    plain = {name: value for name, value in spec.items() if name != "prompt_path"}
    folders += [folder_of(tmp_path, plain | {"prompt": prompt}) for prompt in ("A street.", "A kerb.", "p.txt")]
    for number, name in enumerate(["p.txt", *(f"{view}{end}.mp4" for view in VIEWS for end in ("", "_map"))]):
        os.utime(tmp_path / name, (number, number))
        folders.append(folder_of(tmp_path, spec))
        if name == "p.txt":
            folders.append(folder_of(tmp_path, plain | {"prompt": "p.txt"}))
    assert len(set(folders)) == len(folders)
    assert folder_of(tmp_path, spec) == folders[-1]
    assert {Path(one).parent for one in folders} == {tmp_path / "out" / ".work"}


def test_a_specs_work_folder_is_of_model_checkpoint_and_place(
    tmp_path: Path, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dit = str(tmp_path / "dit.pt")
    folders = [
        folder_of(tmp_path, spec),
        folder_of(tmp_path, spec, "--model", "tiny-transfer25"),
        folder_of(tmp_path, spec, "--checkpoint-path", dit),
        folder_of(tmp_path, spec, "--seed", "9"),
    ]
    os.utime(dit, (5, 5))
    folders.append(folder_of(tmp_path, spec, "--checkpoint-path", dit))
    same = folder_of(tmp_path, spec, "--context-parallel-size", "4", "--device", "cpu", "--keep-going")
    assert same == folders[0], "where and by how many it is made decides no clip"
    monkeypatch.chdir(tmp_path)
    folders.append(folder_of(tmp_path, spec))
    assert len(set(folders)) == len(folders)


def test_a_spec_of_predict25_names_its_videos(tmp_path: Path) -> None:
    cameras = {view: {"video_path": f"{view}.mp4"} for view in inference.VIEWS}
    said = {"name": "a", "inference_type": "video2world", "prompt": "A street.", **cameras}
    (tmp_path / "s.json").write_text(json.dumps(said))
    flags = multiview25.parser().parse_args(["-i", str(tmp_path / "s.json"), "-o", str(tmp_path / "out")])
    found = read_specs(flags.input_files, PredictSpec, {})
    folders = []
    for view in inference.VIEWS:
        folders.append(inference.work_folder(flags, found))
        (tmp_path / f"{view}.mp4").write_text(view)
    assert len(set(folders)) == len(inference.VIEWS)


def test_a_multiview_clips_work_folder_is_of_its_video_and_of_the_file_that_its_prompt_is_in(tmp_path: Path) -> None:
    files = [tmp_path / "in.mp4", tmp_path / "p.txt"]
    for file in files:
        file.write_text("A street.")
    flags = multiview.build_parser().parse_args(["--input_path", str(files[0]), "--prompt", str(files[1])])

    def folder() -> str:
        rows = multiview.rows_of(flags, multiview.read_items(flags, pytest.fail))
        return multiview.work_folder(flags, rows, load_bundle("tiny"))

    folders = [folder()]
    for number, file in enumerate(files):
        os.utime(file, (number, number))
        folders.append(folder())
    assert len(set(folders)) == 3
    assert folder() == folders[-1]


# --- models of one view ----------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings of the jobs that commands begin, none of which makes anything."""
    jobs: list[Any] = []
    monkeypatch.setattr(
        "cosmos_ray.job.job.generate", lambda config, _: jobs.append(config) or SimpleNamespace(exit_code=3)
    )
    return jobs


def output_of(command: Any, asked: list[Any], *flags: str) -> str:
    assert command.main(["--device", "cpu", "--save_path", "made/a.mp4", *flags]) == 3
    return str(asked[-1].output)


def test_a_videos_work_folder_is_of_all_flags_that_decide_it(tmp_path: Path, asked: list[Any]) -> None:
    (tmp_path / "in.png").write_bytes(encode_png(moving_picture(1, 48, 96)[0]))
    input_path = ["--input_path", str(tmp_path / "in.png")]
    flags = ["--model", "tiny-video2world", "--prompt", "x", *input_path]
    others: list[list[str]] = [
        [],
        ["--seed", "1"],
        ["--guidance", "1"],
        ["--num_steps", "2"],
        ["--num_chunks", "2"],
        ["--negative_prompt", ""],
        ["--negative_prompt", "ugly"],
        ["--prompt_prefix", "A robot: "],
        ["--offload_text_encoder"],
        ["--guardrail_weights", "W"],
        ["--guardrail_weights", "W", "--llama_guard", "L"],
        ["--guardrail_weights", "W", "--offload_guardrail"],
        ["--refiner_endpoint", "http://127.0.0.1:1/v1", "--refiner_model", "m"],
        ["--refiner_endpoint", "http://127.0.0.1:1/v1", "--refiner_model", "n"],
        ["--refiner_model", "m"],
    ]
    outputs = [output_of(video2world, asked, *flags, *more) for more in others]
    outputs.append(output_of(video2world, asked, "--model", "tiny-video2world", "--prompt", "y", *input_path))
    assert len(set(outputs)) == len(outputs)
    assert output_of(video2world, asked, *flags, "--num_gpus", "2") == outputs[0]
    assert {Path(one).parent for one in outputs} == {Path("made/a.work").absolute()}
    (tmp_path / "in.png").write_bytes(encode_png(moving_picture(1, 48, 112)[0]))
    assert output_of(video2world, asked, *flags) not in outputs


def test_each_flag_of_a_world_is_one_setting_of_its_job(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """None is left out, and none takes another's place."""
    tiny = load_bundle("tiny-text2world")
    monkeypatch.setattr(one_view, "bundle_of", lambda _: tiny)
    flags = ["--model", "tiny", "--prompt", "x", "--disable_prompt_refiner"]
    output_of(text2world, asked, *flags)
    plain = asked[-1]
    found = {}
    for given in (
        ["--dit_path_text2image", "p.pt"], ["--dit_path_video2world", "v.pt"], ["--num_gpus", "4"],
        ["--load_ema", "--dit_path_video2world", "v.pt"],
        ["--offload_text_encoder"], ["--downcast_text_encoder"], ["--guardrail_weights", "W"],
    ):  # fmt: skip
        output_of(text2world, asked, *flags, *given)
        names = (set(type(plain).model_fields)) - {"manifest", "output"}
        found[given[0]] = {name: getattr(asked[-1], name) for name in names
                           if getattr(asked[-1], name) != getattr(plain, name)}  # fmt: skip
    assert found["--dit_path_text2image"] == {"picture_dit": "p.pt"}
    assert found["--dit_path_video2world"] == {"dit": "v.pt"}
    assert found["--load_ema"] == {"ema": True, "dit": "v.pt"}
    assert found["--num_gpus"] == {"gang_size": 4}
    assert found["--offload_text_encoder"]["text_encoder"].model_dump() == {"device": "cpu", "dtype": None}
    assert found["--downcast_text_encoder"]["text_encoder"].model_dump() == {"device": None, "dtype": "bfloat16"}
    assert found["--guardrail_weights"].keys() == {"guardrails"}
    assert (plain.max_failed, plain.device, plain.inputs.rate, plain.model) == ("0", "cpu", "as_is", "tiny-text2world")


# --- adapters --------------------------------------------------------------------------------------------------------


def test_a_merged_network_is_of_its_adapters_their_scale_and_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    def merge(lora: str, rank: int, alpha: float, network: Any, to: Any, prefix: str) -> str:
        made.append((lora, rank, alpha, len(network), prefix))
        to.write("merged.safetensors", b"")
        return str(to.uri_of("merged.safetensors"))

    monkeypatch.setattr("cosmos_ray.models.bundle.lora.merge", merge)
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_text("x")
    usual = {"use_lora": True, "lora_rank": 16, "lora_alpha": 16.0, "load_ema": False}
    usual |= {"dit_path": str(tmp_path / "a.pt"), "save_path": str(tmp_path / "out.mp4")}
    changes: list[dict[str, Any]] = [
        {}, {"dit_path": str(tmp_path / "b.pt")}, {"lora_rank": 8}, {"lora_alpha": 8.0}, {"load_ema": True},
    ]  # fmt: skip

    def merged(model: str = "tiny", **change: Any) -> str:
        flags: Any = SimpleNamespace(**{**usual, **change})
        return str(adapters.merged_dit(flags, model))

    places = [merged(**change) for change in changes]
    places.append(merged("tiny-video2world"))
    assert len(set(places)) == len(places) == len(made)
    assert [one[1:3] for one in made] == [(16, 16.0), (16, 16.0), (8, 16.0), (16, 8.0), (16, 16.0), (16, 16.0)]
    assert [one[4] for one in made] == ["net."] * 4 + ["net_ema.", "net."]
    assert [merged(**change) for change in changes] == places[:5]
    assert len(made) == len(places), "merged once"
    os.utime(tmp_path / "a.pt", (5, 5))
    assert merged() not in places, "a file that was written anew is another one"
    assert merged(use_lora=False) == str(tmp_path / "a.pt")
    assert merged(use_lora=False, dit_path="") == "None"


@pytest.mark.parametrize("save_path", ["in.mp4", "./in.mp4", "sub/../in.mp4", "file://HERE/in.mp4", "HERE/in.mp4"])
def test_an_input_is_the_same_file_however_it_is_named(save_path: str) -> None:
    with pytest.raises(UsageError, match=r"in\.mp4 is an input, and would be written over"):
        check_results([save_path.replace("HERE", os.getcwd())], ["in.mp4"], "--save_path")


def test_times_of_a_benchmark_are_means_of_every_phase() -> None:
    said: list[str] = []
    phases = ("prepare", "denoise", "decode", "encode", "put")
    records: Any = [
        SimpleNamespace(status="ok", seconds={phase: float(run + number) for number, phase in enumerate(phases)})
        for run in (1, 3)
    ]
    say_times([*records, SimpleNamespace(status="failed", seconds={})], said.append)
    shown = "prepare 2.000 s, denoise 3.000 s, decode 4.000 s, encode 5.000 s, put 6.000 s"
    assert said == [f"benchmark, mean of 2 clips after the first: 20.000 s a clip ({shown})"]
