"""`jobs/video2world.py` and `jobs/text2image.py`: the published flags in, one video or picture out.

* names and defaults of the flags are those of the published example
* which flags name which model, and which is refused with exit code 2 and a reason, before any gang
* rows say what the flags say; a picture, in any case of letters, is one frame
* a whole command is run by `test_a_video_from_a_picture`
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.pages import commands_of, shown_to
from support.videos import moving_picture

from cosmos_ray.clip.encode import encode_mp4, encode_png
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.pictures import PNG, read_picture
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.job.plan import row_defaults
from cosmos_ray.manifest.rows import clips_of_row, rows_of
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.published import one_view, text2image, text2world, video2world

TINY = ("--model", "tiny-video2world", "--device", "cpu")
GUIDE = {
    "model_size": "2B",
    "resolution": "720",
    "fps": 16,
    "dit_path": "",
    "load_ema": False,
    "prompt": "",
    "input_path": "assets/video2world/input0.jpg",
    "negative_prompt": None,
    "aspect_ratio": "16:9",
    "num_conditional_frames": 1,
    "batch_input_json": None,
    "guidance": 7,
    "seed": 0,
    "save_path": "output/generated_video.mp4",
    "num_gpus": 1,
    "disable_guardrail": False,
    "offload_guardrail": False,
    "disable_prompt_refiner": False,
    "offload_prompt_refiner": False,
    "offload_text_encoder": False,
    "downcast_text_encoder": False,
    "benchmark": False,
    "use_cuda_graphs": False,
    "natten": False,
    "num_chunks": 1,
    "gr00t_variant": None,
    "prompt_prefix": None,
    "use_lora": False,
    "lora_rank": 16,
    "lora_alpha": 16,
    "lora_target_modules": "",
    "init_lora_weights": False,
}
OURS = {
    "model": None,
    "num_steps": None,
    "device": "auto",
    "guardrail_weights": None,
    "llama_guard": None,
    "refiner_endpoint": None,
    "refiner_model": None,
}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "Start.JPG"
    path.write_bytes(encode_png(moving_picture(1, 48, 96)[0]))
    return path


@pytest.mark.parametrize("flags", [["--natten"], ["--fps", "10"], ["--model_size", "2B"], ["--resolution", "720"]])
def test_a_gr00t_sample_is_no_other_model(flags: list[str]) -> None:
    """Also where what is given is what other samples have if nothing is."""
    with pytest.raises(UsageError, match=f"--gr00t_variant: found beside {' '.join(flags)}, expected to be without"):
        video2world.model_of(video2world.build_parser().parse_args(["--gr00t_variant", "gr1", *flags]))


@pytest.mark.parametrize("flags", [[f"--{flag}"] for flag in video2world.NO_EFFECT])
def test_a_flag_without_effect_is_said(
    flags: list[str], picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_view, "read_items", nothing_is_made)
    value = ["q_proj"] if flags == ["--lora_target_modules"] else []
    assert video2world.main([*TINY, "--prompt", "x", "--input_path", str(picture), *flags, *value]) == 2
    assert f"flags without effect here: {flags[0]}: " in capsys.readouterr().err


def nothing_is_made(*_: Any) -> Any:
    raise UsageError("nothing is made")


def test_flags_and_defaults_are_the_published_ones() -> None:
    assert vars(video2world.build_parser().parse_args([])) == GUIDE | OURS | dict.fromkeys(video2world.REFUSED)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ([], "cosmos-predict2-2b-video2world"),
        (["--model_size", "14B", "--fps", "10"], "cosmos-predict2-14b-video2world-720p-10fps"),
        (["--resolution", "480", "--aspect_ratio", "9:16"], "cosmos-predict2-2b-video2world-480p-16fps-9x16"),
        (["--gr00t_variant", "droid"], "cosmos-predict2-14b-sample-gr00t-dreams-droid"),
        (
            ["--gr00t_variant", "gr1", "--model_size", "14B", "--resolution", "480", "--fps", "16"],
            "cosmos-predict2-14b-sample-gr00t-dreams-gr1",
        ),
        (["--model", "tiny-video2world"], "tiny-video2world"),
    ],
)
def test_flags_name_a_model_that_there_is(flags: list[str], name: str) -> None:
    found = video2world.model_of(video2world.build_parser().parse_args(flags))
    assert (found, load_bundle(found).name) == (name, name)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--prompt: found nothing"),
        (["--prompt", "x", "--input_path", "none.mp4"], "--input_path: there is no file none.mp4"),
        (["--prompt", "x", "--input_path", "HERE", "--load_ema"], "--load_ema: found without --dit_path, expected"),
        (["--prompt", "x", "--input_path", "HERE", "--save_path", "HERE"], "is an input, and would be written over"),
        (["--batch_input_json", "HERE"], "--batch_input_json: "),
        (["--prompt", "x", "--input_path", "HERE", "--lora_rank", "8"], "--lora_rank, --lora_alpha: found without"),
        (
            ["--prompt", "x", "--input_path", "HERE", "--refiner_endpoint", "10.0.0.7"],
            "--refiner_endpoint: found 10.0.0.7, expected one such as http",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_gang(
    flags: list[str], words: str, picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_ray.job.job.generate", None)
    assert video2world.main([*TINY, *(str(picture) if flag == "HERE" else flag for flag in flags)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_generations", "4"], "argument --num_generations: best of several is left out"),
        (["--skip_generation"], "argument --skip_generation: best of several is left out"),
        (["--video2world_edit_strength", "0.8"], "editing a video (SDEdit) is left out"),
        (["--autoregressive"], "the action-conditioned sample is left out"),
    ],
)
def test_flags_of_examples_that_are_left_out_are_refused_with_the_reason(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        video2world.main([*TINY, "--prompt", "x", *flags])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "tiny-text2image-distilled", "--num_steps", "7"], "--num_steps: found 7, expected 1 to 4"),
        (["--model", "tiny", "--num_steps", "2", "--distill_steps", "4"], "found both --num_steps and --distill_steps"),
    ],
)
def test_steps_that_a_picture_cannot_have_are_refused_before_any_gang(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_ray.job.job.generate", None)
    assert text2image.main([*flags, "--prompt", "x", "--device", "cpu"]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings of the jobs that commands begin, none of which makes anything."""
    jobs: list[Any] = []

    def generate(config: Any, say: Any) -> Any:
        jobs.append(config)
        return SimpleNamespace(exit_code=3)

    monkeypatch.setattr("cosmos_ray.job.job.generate", generate)
    return jobs


def test_rows_say_what_the_flags_say(picture: Path, tmp_path: Path, asked: list[Any]) -> None:
    flags = ["--prompt", "Pick it up.", "--input_path", str(picture), "--seed", "7", "--num_chunks", "2"]
    more = ["--prompt_prefix", "The robot. ", "--offload_text_encoder", "--save_path", str(tmp_path / "a.mp4")]
    assert video2world.main([*TINY, *flags, *more]) == 3
    (config,) = asked
    assert (config.model, config.gang_size, config.text_encoder.device) == ("tiny-video2world", 1, "cpu")
    table = pq.read_table(config.manifest)
    defaults = row_defaults(load_bundle("tiny-video2world"), SamplingConfig())
    (clip,) = clips_of_row(rows_of(table)[0], defaults, str(tmp_path))
    assert clip.error is None
    assert clip.prompts == ("The robot. Pick it up.",)
    assert (clip.frames, clip.cameras) == (((str(picture),),), ("video",))
    assert (clip.seed, clip.guidance, clip.num_chunks, clip.num_conditional_frames, clip.fps) == (7, 7.0, 2, 1, 16)


def test_items_of_a_json_and_runs_of_a_benchmark(
    picture: Path, tmp_path: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    items = tmp_path / "items.json"
    whole = {"input_video": str(picture), "prompt": "x", "output_video": str(tmp_path / "b.mp4")}
    items.write_text(json.dumps([whole, {"prompt": "y"}]))
    save = ["--save_path", str(tmp_path / "a.mp4")]
    assert video2world.main([*TINY, "--batch_input_json", str(items), "--benchmark", *save]) == 3
    assert "item 1" in capsys.readouterr().err
    ids = pq.read_table(asked[0].manifest).column("id").to_pylist()
    assert ids == ["clip-00000", "clip-00000.run1", "clip-00000.run2", "clip-00000.run3"]


def test_another_picture_under_the_same_name_is_other_work(picture: Path, tmp_path: Path, asked: list[Any]) -> None:
    flags = ["--prompt", "x", "--input_path", str(picture), "--save_path", str(tmp_path / "a.mp4")]
    for frame in (0, 0, 5):
        picture.write_bytes(encode_png(moving_picture(6, 48, 96 + frame)[frame])) if frame else None
        assert video2world.main([*TINY, *flags]) == 3
    first, again, other = (config.output for config in asked)
    assert first == again != other


def test_the_run_that_warms_up_is_not_timed(
    picture: Path, tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["clip-00000", *(f"clip-00000.run{run}" for run in (1, 2, 3))]
    records = [SimpleNamespace(id=one, status="ok") for one in ids]
    timed: list[str] = []
    monkeypatch.setattr(one_view, "Ledger", lambda _: SimpleNamespace(records=lambda: records))
    monkeypatch.setattr(one_view, "_write_result", lambda *_: None)
    monkeypatch.setattr(one_view, "say_times", lambda found, _: timed.extend(one.id for one in found))
    flags = ["--prompt", "x", "--input_path", str(picture), "--save_path", str(tmp_path / "a.mp4"), "--benchmark"]
    assert video2world.main([*TINY, *flags]) == 3
    assert timed == ids[1:]


@pytest.mark.parametrize(
    ("flags", "prefix"),
    [
        ([], ""),
        (["--gr00t_variant", "gr1"], "The robot arm is performing a task. "),
        (["--gr00t_variant", "gr1", "--prompt_prefix", ""], ""),
        (["--prompt_prefix", "A robot: "], "A robot: "),
    ],
)
def test_what_stands_before_a_prompt(flags: list[str], prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant's own words, unless others are given, of which nothing is one."""
    given: list[Any] = []
    monkeypatch.setattr(one_view, "make", lambda *arguments: given.append(arguments[-1]) or 0)
    assert video2world.make(video2world.build_parser().parse_args(flags), print) == 0
    assert given == [prefix]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.long
def test_a_video_from_a_picture(picture: Path, tmp_path: Path, one_node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sibling without a gang: `tests/models/test_single.py`."""
    monkeypatch.chdir(tmp_path)
    picture.rename("start.jpg")
    (block,) = shown_to(__file__, "test_a_video_from_a_picture")
    ((_, _, *flags),) = commands_of(block)
    save = tmp_path / "made" / "video.mp4"
    assert video2world.main(flags) == 0
    assert decode_mp4(save.read_bytes()).shape == (29, 64, 112, 3)
    assert save.with_suffix(".txt").read_text().startswith("[Prompt]\nPick it up.\n\n[Negative Prompt]\n")
    video = tmp_path / "in.mp4"
    video.write_bytes(encode_mp4(moving_picture(6, 48, 96), 16))
    more = ["--input_path", str(video), "--num_conditional_frames", "5", "--num_chunks", "2"]
    assert video2world.main([*flags, *more]) == 0
    assert len(decode_mp4(save.read_bytes())) == 29 + 24


def test_adapters_are_merged_once(
    picture: Path, tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def merge(lora: str, rank: int, alpha: float, network: Any, to: Any, prefix: str) -> str:
        calls.append((lora, rank, alpha, prefix))
        to.write("merged.safetensors", b"")
        return str(to.uri_of("merged.safetensors"))

    monkeypatch.setattr("cosmos_ray.models.bundle.lora.merge", merge)
    monkeypatch.setattr(one_view, "bundle_of", lambda config: load_bundle(config.model))
    flags = ["--prompt", "x", "--input_path", str(picture), "--save_path", str(tmp_path / "a.mp4"), "--use_lora"]
    assert video2world.main([*TINY, *flags]) == 2, "of what?"
    for _ in range(2):
        assert video2world.main([*TINY, *flags, "--dit_path", str(picture), "--lora_rank", "4"]) == 3
    assert calls == [(str(picture), 4, 16.0, "net.")]
    assert {config.dit for config in asked} == {asked[0].dit}
    assert asked[0].dit.endswith("merged.safetensors")
    assert video2world.main([*TINY, *flags, "--dit_path", str(picture), "--lora_rank", "4", "--load_ema"]) == 3
    assert calls[1:] == [(str(picture), 4, 16.0, "net_ema.")], "another network, beside the first"
    assert asked[-1].dit != asked[0].dit
    assert not asked[-1].ema, "what was merged has one prefix"


def test_a_picture_has_its_own_flags_and_guidance(tmp_path: Path, asked: list[Any]) -> None:
    found = vars(text2image.build_parser().parse_args([]))
    assert (found["model_size"], found["negative_prompt"], found["distill_steps"]) == ("2B", "", 0)
    parse = text2image.build_parser().parse_args
    assert text2image.model_of(parse(["--distill_steps", "2"])) == "cosmos-predict2-2b-text2image-distilled"
    assert text2image.model_of(parse(["--model_size", "0.6B", "--aspect_ratio", "1:1"])).endswith("0.6b-text2image-1x1")
    flags = ["--model", "tiny", "--device", "cpu", "--prompt", "A cup.", "--distill_steps", "3"]
    assert text2image.main([*flags, "--save_path", str(tmp_path / "a.jpg")]) == 3
    (row,) = pq.read_table(asked[0].manifest).to_pylist()
    assert (row["prompt"], row["guidance"], row["num_steps"], row["negative_prompt"]) == ("A cup.", 4.0, 3, "")
    assert "input_video" not in row


def test_tiny_is_the_tiny_network_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    for module, flags, name in (
        (video2world, [], "tiny-video2world"),
        (text2image, [], "tiny-text2image"),
        (text2image, ["--distill_steps", "3"], "tiny-text2image-distilled"),
        (text2world, [], "tiny-text2world"),
        (text2world, ["--distill_steps", "3"], "tiny-text2world-distilled3"),
    ):
        found = module.model_of(module.build_parser().parse_args(["--model", "tiny", *flags]))
        assert (found, load_bundle(found).name) == (name, name)
    distilled = load_bundle("tiny-text2world-distilled3").picture
    assert distilled is not None
    assert (distilled.num_steps, load_bundle("tiny-text2world").recipe.makes_picture) == (3, True)
    for module, model in ((text2image, "tiny-text2image"), (text2world, "tiny-text2world")):
        assert module.main(["--model", model, "--prompt", "x", "--distill_steps", "2"]) == 2
        assert f"model `{model}` is not distilled" in capsys.readouterr().err


def test_a_tokenizer_that_is_a_program_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert text2image.main(["--prompt", "A cup.", "--use_fast_tokenizer"]) == 2
    assert "holds programs (TorchScript)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.long
def test_a_picture_from_a_caption(tmp_path: Path, one_node: None) -> None:
    """Its sibling without a gang: `tests/models/test_single.py`."""
    flags = ["--model", "tiny-text2image", "--device", "cpu", "--prompt", "A cup.", "--num_steps", "1"]
    for name, begins in (("a.jpg", b"\xff\xd8\xff"), ("b.png", PNG)):
        save = tmp_path / "made" / name
        assert text2image.main([*flags, "--save_path", str(save)]) == 0
        data = save.read_bytes()
        assert data.startswith(begins)
        assert read_picture(data).shape == (64, 128, 3)
    assert save.with_suffix(".txt").read_text() == "[Prompt]\nA cup.\n"


def test_a_world_of_a_caption_has_both_models_flags(
    tmp_path: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    parse = text2world.build_parser().parse_args
    named = text2world.model_of(parse(["--distill_steps", "2", "--resolution", "480", "--aspect_ratio", "1:1"]))
    assert (named, load_bundle(named).name) == ("cosmos-predict2-2b-text2world-480p-16fps-distilled2-1x1", named)
    assert text2world.main(["--prompt", "x", "--model_size", "0.6B"]) == 2
    assert "no video model of that size" in capsys.readouterr().err
    flags = ["--model", "tiny-text2world", "--device", "cpu", "--prompt", "A cup.", "--guidance", "5"]
    assert text2world.main([*flags, "--save_path", str(tmp_path / "a.mp4")]) == 3
    (row,) = pq.read_table(asked[0].manifest).to_pylist()
    assert (row["prompt"], row["guidance"]) == ("A cup.", 5.0)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.long
def test_a_world_of_a_caption(tmp_path: Path, one_node: None) -> None:
    """Its sibling without a gang: `tests/models/test_text2world.py`."""
    save = tmp_path / "made" / "a.mp4"
    flags = ["--model", "tiny-text2world", "--device", "cpu", "--prompt", "A cup.", "--num_steps", "1"]
    assert text2world.main([*flags, "--save_path", str(save)]) == 0
    assert decode_mp4(save.read_bytes()).shape == (29, 64, 112, 3)
    assert read_picture((tmp_path / "made" / "a.picture.png").read_bytes()).shape == (64, 128, 3)
    (output,) = (tmp_path / "made" / "a.work").iterdir()
    (row,) = pq.read_table(output / "index.parquet").to_pylist()
    assert [Path(row[f"video_{view}"]).name for view in ("video", "picture")] == ["video.mp4", "picture.png"]
    assert "video_front_wide" not in row
