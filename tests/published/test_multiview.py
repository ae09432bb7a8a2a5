"""`jobs/multiview.py`: the guide's flags in, one stacked mp4 out.

* names and defaults of the flags are those of the guide's table
* what is not available is refused with exit code 2 and a reason, before any gang
* a clip: its views stacked from top to bottom, the text beside it, an mp4 a view in the work folder
* the same command again makes nothing; with another input under the same name it does
* a JSON's clips: each where it says, incomplete items left out, a failed one told with exit code 3
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.cluster import SharedHead
from support.pages import commands_of, shown_to
from support.paths import ROOT
from support.waiting import PATIENCE_S

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import DIT_PREFIXES, load_bundle
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.published import multiview
from cosmos_ray.published.multiview import (
    NO_EFFECT,
    asked_size,
    build_parser,
    main,
    model_of,
    read_items,
    rows_of,
    work_folder,
)

FAKE = ("--model", "fake", "--device", "cpu", "--n_views", "7")

#: The guide's flags and their defaults; the negative prompt's is the model's own, which is the guide's text.
GUIDE = {
    "model_size": "2B",
    "resolution": "720",
    "fps": 10,
    "dit_path": "",
    "load_ema": False,
    "prompt": "",
    "input_path": "assets/multiview/input1.mp4",
    "aspect_ratio": "16:9",
    "num_conditional_frames": 1,
    "batch_input_json": None,
    "guidance": 7,
    "seed": 0,
    "save_path": "output/generated_video.mp4",
    "num_gpus": 1,
    "n_views": 1,
    "disable_guardrail": False,
    "offload_guardrail": False,
    "disable_prompt_refiner": False,
    "offload_prompt_refiner": False,
    "benchmark": False,
    "use_cuda_graphs": False,
    "natten": False,
}


@pytest.fixture
def drive(tmp_path: Path) -> str:
    """An input of seven views of three frames, one after the other in time."""
    frames = np.random.default_rng(0).integers(0, 256, (21, 64, 112, 3), dtype=np.uint8)
    (tmp_path / "drive.mp4").write_bytes(encode_mp4(frames, 10))
    return str(tmp_path / "drive.mp4")


def run_script(folder: Path, head: SharedHead, *flags: str) -> subprocess.CompletedProcess[str]:
    """jobs/multiview.py in a process of its own, as a person starts it in `folder`, on a cluster."""
    command = [sys.executable, str(ROOT / "jobs" / "multiview.py"), *FAKE, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": head.cluster.address}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def flags_of(*arguments: str) -> Any:
    return build_parser().parse_args([*FAKE, *arguments])


def test_names_and_defaults_are_the_guides() -> None:
    flags = vars(build_parser().parse_args([]))
    assert {name: flags[name] for name in GUIDE} == GUIDE
    assert model_of(build_parser().parse_args([])) == "cosmos-predict2-2b-multiview"
    assert flags["negative_prompt"] is None
    negative = load_bundle("cosmos-predict2-2b-multiview").sampling.negative_prompt
    assert negative.startswith("The video captures a series of frames showing ugly scenes, static with no motion")


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        ([], None),
        (["--resolution", "480"], "768x432"),
        (["--aspect_ratio", "9:16"], "704x1280"),
        (["--resolution", "480", "--aspect_ratio", "1:1"], "480x480"),
        (["--resolution", "640x384"], "640x384"),
    ],
)
def test_another_size_is_made_and_it_is_said_that_no_weights_are_for_it(flags: list[str], size: str | None) -> None:
    said: list[str] = []
    assert asked_size(flags_of(*flags), said.append) == size
    assert len(said) == (size is not None)
    bundle = load_bundle("tiny").with_size(size)
    assert f"{bundle.width}x{bundle.height}" == (size or "112x64")
    with pytest.raises(UsageError, match="resolution: found '100x64', expected WIDTHxHEIGHT, multiples of 16"):
        load_bundle("tiny").with_size("100x64")
    with pytest.raises(UsageError, match="expected at most 1920x1920"):
        load_bundle("tiny").with_size("1936x64")


def test_a_network_that_nobody_published_wants_a_checkpoint(drive: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--prompt", "A street.", "--input_path", drive, "--n_views", "7", "--device", "cpu", "--model_size", "14B"]
    assert main(asked) == 2
    assert "--dit_path names yours" in capsys.readouterr().err
    assert main([*asked, "--dit_path", drive]) == 2
    assert "found suffix `.mp4`" in capsys.readouterr().err
    bundle = load_bundle("cosmos-predict2-14b-multiview")
    assert (bundle.network.model_channels, bundle.network.rope_h_extrapolation_ratio, bundle.n_views) == (5120, 3.0, 7)
    (finding,) = (one for one in check_bundle(bundle) if one.subject == "dit")
    assert (finding.level, "no checkpoint of this network" in finding.message) == ("problem", True)


def test_cameras_may_be_named_instead_of_counted(drive: str) -> None:
    flags = flags_of("--prompt", "x", "--input_path", drive, "--views", "rear,front_wide")
    (row,) = rows_of(flags, read_items(flags, print))
    assert row["views"] == ["rear", "front_wide"]
    assert "n_views" not in row


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--resolution", "large"], "found large, expected 720, 480 or WIDTHxHEIGHT"),
        (["--fps", "30"], "30"),
        (["--model_size", "7B"], "7B"),
        (["--aspect_ratio", "2:1"], "2:1"),
        (["--num_conditional_frames", "2"], "2"),
        (["--n_views", "8"], "found 8, expected 1 to 7"),
        (["--seed", "-1"], "found -1, expected 0 to"),
        (["--guidance", "much"], "much"),
        (["--distill_steps", "4"], "--distill_steps: no multiview network was distilled"),
        (["--dit_path_video2world", "a.pt"], "whose checkpoint --dit_path names"),
    ],
)
def test_a_value_that_is_not_available_is_refused(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--prompt", "A street.", *flags])
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_checkpoint_of_ones_own_is_the_jobs(
    tmp_path: Path, drive: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dit_path`, and `--load_ema` for its running average; another checkpoint is another work folder."""
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    shapes = dit_shapes(load_bundle("tiny").network).items()
    for number in (1, 2):
        state = {f"{lead}{name}": torch.full(shape, float(number)) for lead in DIT_PREFIXES for name, shape in shapes}
        torch.save(state, tmp_path / f"{number}.pt")
    asked: list[Any] = []

    def generate(config: Any, say: Any) -> Any:
        asked.append(config)
        raise UsageError("far enough")

    monkeypatch.setattr("cosmos_ray.job.job.generate", generate)
    words = ["--model", "tiny", "--prompt", "A street.", "--input_path", drive, "--n_views", "7"]
    words += ["--save_path", str(tmp_path / "out.mp4"), "--dit_path"]
    assert main([*words, str(tmp_path / "1.pt")]) == 2
    assert main([*words, str(tmp_path / "1.pt"), "--load_ema"]) == 2
    assert main([*words, str(tmp_path / "2.pt")]) == 2
    assert [(config.dit, config.ema) for config in asked] == [
        (str(tmp_path / "1.pt"), False), (str(tmp_path / "1.pt"), True), (str(tmp_path / "2.pt"), False),
    ]  # fmt: skip
    assert len({config.output for config in asked}) == 3
    capsys.readouterr()
    assert main([*words, "iter_000001000.pt"]) == 2
    assert "checkpoint iter_000001000.pt: there is no such file" in capsys.readouterr().err
    assert main([*words[:-1], "--load_ema"]) == 2
    assert "--load_ema: found without --dit_path" in capsys.readouterr().err


def test_the_run_that_warms_up_is_not_timed_of_any_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runs an item, the mean of the last three."""
    items = [
        {"input_video": f"{name}.mp4", "prompt": "x", "output_video": str(tmp_path / f"{name}.mp4")} for name in "ab"
    ]
    (tmp_path / "items.json").write_text(json.dumps(items))
    ids = [f"clip-0000{item}{run}" for run in ("", ".run1", ".run2", ".run3") for item in (0, 1)]
    records = [SimpleNamespace(id=one, status="ok") for one in ids]
    timed: list[str] = []
    monkeypatch.setattr("cosmos_ray.job.job.generate", lambda *_: SimpleNamespace(exit_code=0))
    monkeypatch.setattr(multiview, "Ledger", lambda _: SimpleNamespace(records=lambda: records))
    monkeypatch.setattr(multiview, "_write_result", lambda *_: None)
    monkeypatch.setattr(multiview, "say_times", lambda found, _: timed.extend(one.id for one in found))
    flags = [
        "--batch_input_json",
        str(tmp_path / "items.json"),
        "--save_path",
        str(tmp_path / "all.mp4"),
        "--benchmark",
    ]
    assert main([*FAKE, *flags]) == 0
    assert timed == ids[2:]


def test_flags_without_effect_are_accepted_and_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Together with a missing input, so that nothing is made."""
    flags = [f"--{flag}" for flag in NO_EFFECT]
    assert main([*FAKE, "--prompt", "A street.", "--input_path", "missing.mp4", *flags]) == 2
    error = capsys.readouterr().err
    assert all(error.count(f"{flag}:") == 1 for flag in flags)
    assert "--input_path: there is no file missing.mp4" in error


def test_a_key_that_a_batch_file_may_not_have_is_said(tmp_path: Path) -> None:
    path, said = tmp_path / "batch.json", []
    path.write_text('[{"input_video": "a.mp4", "prompt": "x", "seed": 3}]')
    (item,) = read_items(flags_of("--batch_input_json", str(path)), said.append)
    assert item.prompt == "x"
    assert said == [f"item 0 of {path}: keys without effect: seed (flags hold for all items)"]


def test_views_that_are_named_are_not_counted_otherwise(drive: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*FAKE, "--prompt", "A street.", "--input_path", drive, "--views", "front_wide,rear"]
    assert main([*words, "--n_views", "3"]) == 2
    assert "--n_views 3: found beside --views front_wide,rear" in capsys.readouterr().err


def test_no_prompt_is_refused(drive: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FAKE, "--input_path", drive]) == 2
    assert "--prompt: found nothing" in capsys.readouterr().err


def test_an_unknown_model_is_refused(drive: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prompt", "A street.", "--input_path", drive, "--model", "nonesuch"]) == 2
    assert "model `nonesuch`" in capsys.readouterr().err


def test_a_gang_that_does_not_fit_is_refused_with_the_sizes_that_do(
    drive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_path = str(tmp_path / "out.mp4")
    assert (
        main([*FAKE, "--prompt", "A street.", "--input_path", drive, "--num_gpus", "3", "--save_path", save_path]) == 2
    )
    assert "sizes that fit: 1, 2, 4, 8, 16" in capsys.readouterr().err


def test_an_input_is_never_written_over(tmp_path: Path, drive: str) -> None:
    with pytest.raises(UsageError, match=r"drive\.mp4 is an input"):
        read_items(flags_of("--prompt", "A street.", "--input_path", drive, "--save_path", drive), print)
    caption = tmp_path / "clip.txt"
    caption.write_text("A street.")
    flags = flags_of("--prompt", str(caption), "--input_path", drive, "--save_path", str(tmp_path / "clip.mp4"))
    with pytest.raises(UsageError, match=r"clip\.txt is an input"):
        read_items(flags, print)


def test_whatever_decides_a_clip_names_its_work_folder(tmp_path: Path, drive: str) -> None:
    """So that the same command goes on where it was stopped, and any other begins anew."""

    def folder(*more: str) -> str:
        flags = flags_of("--prompt", "A street.", "--input_path", drive, "--save_path", f"{tmp_path}/clip.mp4", *more)
        return work_folder(flags, rows_of(flags, read_items(flags, print)), load_bundle(flags.model))

    first = folder()
    assert first == folder()
    assert Path(first).parent == tmp_path / "clip.work"
    others = [folder("--seed", "1"), folder("--n_views", "3"), folder("--model", "tiny"), folder("--benchmark")]
    assert len({first, *others, folder("--benchmark")}) == 6
    Path(drive).write_bytes(encode_mp4(np.zeros((21, 64, 112, 3), np.uint8), 10))
    assert folder() not in {first, *others}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "found dict, expected a list"),
        ("[", "JSONDecodeError"),
        ('[{"prompt": "A street."}]', "no item with input_video and prompt"),
        ('[{"input_video": 1, "prompt": "A street."}]', "item 0 of"),
        (
            '[{"input_video": "a.mp4", "prompt": "x", "output_video": "o.mp4"},'
            ' {"input_video": "b.mp4", "prompt": "x", "output_video": "o.mp4"}]',
            "same file",
        ),
        (
            '[{"input_video": "a.mp4", "prompt": "x", "output_video": "s3://b/o.mp4"},'
            ' {"input_video": "b.mp4", "prompt": "x", "output_video": "s3a://b/o.mp4"}]',
            "same file",
        ),
        ('[{"input_video": "a.mp4", "prompt": "x", "prompts": "y"}]', "no key prompts; `prompt` is near"),
        ('[{"input_video": "a.mp4", "input_video": "b.mp4", "prompt": "x"}]', "the key 'input_video' twice"),
    ],
)
def test_a_bad_batch_file_says_what_is_wrong(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "batch.json").write_text(content)
    with pytest.raises(UsageError, match=reason):
        read_items(flags_of("--batch_input_json", str(tmp_path / "batch.json")), print)


@pytest.mark.ray
@pytest.mark.slow
def test_one_clip_stacked_and_again_without_work(one_node: SharedHead, drive: str, tmp_path: Path) -> None:
    """README's command line, but for the fake model: two ranks, seven views."""
    (tmp_path / "caption.txt").write_text("A street.\n")
    (tmp_path / "drive.mp4").rename(tmp_path / "video.mp4")
    (shown,) = shown_to(__file__, "test_one_clip_stacked_and_again_without_work")
    ((python, script, *flags),) = commands_of(shown)
    assert (python, script) == ("python", "jobs/multiview.py")
    more = (*FAKE, "--num_gpus", "2", "--disable_prompt_refiner", "--negative_prompt", "Ugly.")
    done = run_script(tmp_path, one_node, *flags, *more)
    assert done.returncode == 0, done.stderr
    stacked = decode_mp4(tmp_path / "output" / "clip.mp4")
    bundle = load_bundle("fake")
    assert stacked.shape == (29, 7 * bundle.height, bundle.width, 3)
    (views,) = (tmp_path / "output" / "clip.work").glob("*/clips/clip-00000/1")
    for number, view in enumerate(VIEWS):
        rows = stacked[:, number * bundle.height : (number + 1) * bundle.height].astype(float)
        assert np.abs(rows - decode_mp4(views / f"{view}.mp4")).mean() < 2, view
    text = (tmp_path / "output" / "clip.txt").read_text()
    assert text == "[Prompt]\ncaption.txt\n\n[Negative Prompt]\nUgly.\n"
    said = json.loads((views / "clip.json").read_bytes())
    assert said["network_calls_a_step"] == 2
    sidecar = said["clip"]
    assert sidecar["prompts"] == ["A street."]
    assert (sidecar["guidance"], sidecar["seed"], sidecar["negative_prompt"], sidecar["fps"]) == (7, 0, "Ugly.", 10)

    (tmp_path / "output" / "clip.mp4").unlink()
    assert f"kept beside: {tmp_path / 'output' / 'clip.work'}/" in done.stderr
    assert "it may be removed" in done.stderr
    again = run_script(tmp_path, one_node, *flags, *more)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert np.array_equal(decode_mp4(tmp_path / "output" / "clip.mp4"), stacked)


@pytest.mark.ray
@pytest.mark.slow
def test_a_batch_with_an_embedding_an_incomplete_item_and_a_failure(
    one_node: SharedHead, drive: str, tmp_path: Path
) -> None:
    """Good clips are written although another one cannot be made."""
    torch.save(torch.ones(1, 7 * 512, load_bundle("fake").text_width), tmp_path / "prompt.pt")
    batch = [
        {"input_video": "drive.mp4", "prompt": "prompt.pt", "output_video": "out/first.mp4"},
        {"input_video": "drive.mp4"},
        {"input_video": "missing.mp4", "prompt": "A street.", "output_video": "out/never.mp4"},
        {"input_video": "drive.mp4", "prompt": [f"View {view}." for view in VIEWS]},
    ]
    (tmp_path / "batch.json").write_text(json.dumps(batch))
    flags = ("--batch_input_json", "batch.json", "--seed", "7", "--save_path", "out/all.mp4")
    done = run_script(tmp_path, one_node, *flags)
    assert done.returncode == 3, done.stderr
    assert "item 1 of batch.json is left out" in done.stderr
    assert "out/never.mp4: not made (input): column `input_video`" in done.stderr
    bundle = load_bundle("fake")
    for name in ("out/first.mp4", "output_3.mp4"):
        assert decode_mp4(tmp_path / name).shape == (29, 7 * bundle.height, bundle.width, 3)
    assert not (tmp_path / "out" / "never.mp4").exists()
    assert (tmp_path / "output_3.txt").read_text().startswith("[Prompt]\nView front_wide.\nView cross_right.\n")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_a_benchmark_makes_the_clip_four_times_and_tells_the_mean(
    one_node: SharedHead, drive: str, tmp_path: Path
) -> None:
    flags = ("--input_path", "drive.mp4", "--prompt", "[seconds=0.5]", "--save_path", "clip.mp4", "--benchmark")
    done = run_script(tmp_path, one_node, *flags)
    assert done.returncode == 0, done.stderr
    assert "benchmark, mean of 3 clips after the first:" in done.stderr
    assert "denoise 0.5" in done.stderr
    assert decode_mp4(tmp_path / "clip.mp4").shape[0] == 29
