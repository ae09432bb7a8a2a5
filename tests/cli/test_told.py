"""What a command is told reaches what does the work, each word at its place; what it is not told has its default."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.manifest.builders.caption_files import Captions
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.vary import Variations
from cosmos_ray.manifest.builders.windows import Windows
from cosmos_ray.output.report.part import Part

#: By option of `generate`: what is said, and the setting and value that it becomes.
OF_A_JOB: dict[str, tuple[str, str, Any]] = {
    "--manifest": ("other.parquet", "manifest", "other.parquet"),
    "--output": ("elsewhere", "output", "elsewhere"),
    "--model": ("tiny", "model", "tiny"),
    "--gang-size": ("2", "gang_size", 2),
    "--gangs": ("0:3", "gangs", "0:3"),
    "--limit": ("5", "limit", 5),
    "--max-failed": ("0", "max_failed", "0"),
    "--max-gpu-hours": ("1.5", "max_gpu_hours", 1.5),
    "--redo-changed": ("", "redo_changed", True),
}
FILE = {
    "manifest": "m.parquet", "output": "out", "model": "fake", "gang_size": 4, "gangs": "1:2", "limit": 9,
    "max_failed": "3", "max_gpu_hours": 7.0, "redo_changed": False, "sampling": {"num_steps": 7},
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(FILE))
    return tmp_path / "job.yaml"


class Stop(UsageError):
    """Where the work would begin."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, cosmos_ray: Any) -> Callable[..., dict[str, Any]]:
    """The arguments, by name, with which `target` is called by a command."""

    signatures: dict[str, inspect.Signature] = {}

    def ask(target: str, *command: str | Path) -> dict[str, Any]:
        module, _, name = target.rpartition(".")
        if target not in signatures:
            signatures[target] = inspect.signature(getattr(importlib.import_module(module), name))
        found: list[dict[str, Any]] = []

        def stand_in(*args: Any, **more: Any) -> None:
            bound = signatures[target].bind(*args, **more)
            bound.apply_defaults()
            found.append(bound.arguments)
            raise Stop("here")

        monkeypatch.setattr(target, stand_in)
        answer = cosmos_ray(*command)
        assert (answer.code, len(found)) == (2, 1), answer.err
        return found[0]

    return ask


GENERATE = "cosmos_ray.job.job.generate"


def test_a_job_has_the_settings_of_its_file(told: Any, file: Path) -> None:
    config = told(GENERATE, "generate", "--config", file)["config"]
    assert config == GenerateConfig.model_validate(FILE)
    file.write_text(yaml.safe_dump(FILE | {"redo_changed": True}))
    assert told(GENERATE, "generate", "--config", file)["config"].redo_changed, "no flag says otherwise"
    assert not told(GENERATE, "generate", "--config", file, "--no-redo-changed")["config"].redo_changed


@pytest.mark.parametrize("option", OF_A_JOB)
def test_each_flag_of_a_job_wins_over_its_file_and_changes_nothing_else(told: Any, file: Path, option: str) -> None:
    words, name, value = OF_A_JOB[option]
    config = told(GENERATE, "generate", "--config", file, *[option, words][: 1 + bool(words)])["config"]
    assert config == GenerateConfig.model_validate(FILE | {name: value})


def test_what_is_set_wins_over_flags(told: Any, file: Path) -> None:
    words = ("--limit", "5", "--set", "limit=6", "--set", "sampling.num_steps=3", "--set", "gang.max_attempts=8")
    config = told(GENERATE, "generate", "--config", file, *words)["config"]
    assert (config.limit, config.sampling.num_steps, config.gang.max_attempts) == (6, 3, 8)


def test_a_jobs_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch, cosmos_ray: Any, file: Path) -> None:
    for code in (0, 1, 3):
        monkeypatch.setattr(GENERATE, lambda config, say, code=code: type("Summary", (), {"exit_code": code}))
        assert cosmos_ray("generate", "--config", file).code == code


@pytest.mark.parametrize("option", ["--manifest", "--output", "--model", "--gang-size", "--gangs"])
def test_a_plan_has_the_settings_of_its_job(told: Any, file: Path, option: str) -> None:
    words, name, value = OF_A_JOB[option]
    config = told("cosmos_ray.job.model.bundle_of", "plan", "--config", file, option, words)["config"]
    assert config == GenerateConfig.model_validate(FILE | {name: value})


def test_a_comparison_has_what_is_said_for_all_and_a_file_a_setting(told: Any, file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("sampling: {preset: fast}")
    (tmp_path / "b.yaml").write_text("model: tiny")
    flags = [word for option in ("--manifest", "--output", "--gang-size", "--gangs", "--limit", "--max-failed")
             for word in (option, OF_A_JOB[option][0])]  # fmt: skip
    found = told(
        "cosmos_ray.job.compare.compare", "compare", "--config", file, *flags, "--price", "2.5", "--settings",
        tmp_path / "a.yaml", tmp_path / "b.yaml",
    )  # fmt: skip
    expected = FILE | {OF_A_JOB[option][1]: OF_A_JOB[option][2] for option in flags[::2]}
    configs = [one.config.model_copy(update={"output": "elsewhere"}) for one in found["settings"]]
    steps = {"num_steps": 7, "preset": "fast"}
    assert configs[0] == GenerateConfig.model_validate(expected | {"sampling": steps})
    assert configs[1] == GenerateConfig.model_validate(expected | {"model": "tiny"})
    assert ([one.name for one in found["settings"]], found["folder"], found["price"]) == (["a", "b"], "elsewhere", 2.5)


OUT = ("--out", "m.parquet")
MANIFEST = "cosmos_ray.manifest.builders."


@pytest.mark.parametrize(
    ("target", "command", "expected"),
    [
        ("cosmos_ray.output.export.export", "export o --format rds-hq --to t",
         {"output": "o", "layout": "rds-hq", "to": "t", "clips_a_shard": 64, "where": None, "verify": False}),
        ("cosmos_ray.output.export.export", "export o --format webdataset --to t --clips-a-shard 5 --where x --verify",
         {"output": "o", "layout": "webdataset", "to": "t", "clips_a_shard": 5, "where": "x", "verify": True}),
        ("cosmos_ray.job.report.report", "report o", {"output": "o", "manifest": None, "part": Part()}),
        ("cosmos_ray.job.report.report", "report o --manifest m --where x --grid a b --price 3",
         {"output": "o", "manifest": "m", "part": Part("x", ("a", "b"), 3.0)}),
        ("cosmos_ray.job.report.report_together", "report o p --where x --grid a b --price 3",
         {"outputs": ["o", "p"], "part": Part("x", ("a", "b"), 3.0)}),
        ("cosmos_ray.job.reproduce.reproduce", "reproduce o a",
         {"output": "o", "clip_id": "a", "model": None, "gang_size": None, "to": None, "assignments": ()}),
        ("cosmos_ray.job.reproduce.reproduce", "reproduce o a --model m --gang-size 2 --to t --set x=1 --set y=2",
         {"output": "o", "clip_id": "a", "model": "m", "gang_size": 2, "to": "t", "assignments": ["x=1", "y=2"]}),
        ("cosmos_ray.job.doctor.examine", "doctor", {"model": None, "store": None}),
        ("cosmos_ray.job.doctor.examine", "doctor --model m --store s3://b/f", {"model": "m", "store": "s3://b/f"}),
        ("cosmos_ray.models.bundle.mirror.mirror", "model fetch fake --to t", {"to": "t"}),
        ("cosmos_ray.models.bundle.derive.with_dit", "model derive --from fake --to t --dit d --ema",
         {"dit": "d", "ema": True}),
        ("cosmos_ray.models.bundle.derive.with_dit", "model derive --from fake --to t --dit d",
         {"dit": "d", "ema": False}),
        ("cosmos_ray.models.bundle.lora.derive_merged", "model derive --from fake --to t --lora l",
         {"lora": "l", "rank": 16, "alpha": 16, "to": "t", "base": None, "ema": False}),
        ("cosmos_ray.models.bundle.lora.derive_merged",
         "model derive --from fake --to t --lora l --rank 4 --alpha 8 --dit d --ema",
         {"lora": "l", "rank": 4, "alpha": 8, "to": "t", "base": "d", "ema": True}),
        (f"{MANIFEST}folder.from_folder", "manifest from-folder f",
         {"folder": "f", "out": "m", "rig": rig_of(), "captions": Captions(), "fps": None, "frames": None,
          "windows": None, "base": None}),
        (f"{MANIFEST}folder.from_folder",
         "manifest from-folder f --cameras waymo --prompt p --fps 7 --frames 5 --windows w --zoom 0.3 --base b",
         {"folder": "f", "rig": rig_of("waymo"), "captions": Captions("p"), "fps": 7, "frames": 5,
          "windows": Windows("w", 0.3), "base": "b"}),
        (f"{MANIFEST}folder.from_folder", "manifest from-folder f --n-views 3", {"rig": rig_of(n_views=3)}),
        (f"{MANIFEST}folder.from_folder", "manifest from-folder f --views rear --windows w",
         {"rig": rig_of(views="rear"), "windows": Windows("w", 0.5)}),
        (f"{MANIFEST}table.from_table", "manifest from-table f --cameras waymo --base b --encoding cp1252",
         {"source": "f", "out": "m", "rig": rig_of("waymo"), "base": "b", "encoding": "cp1252"}),
        (f"{MANIFEST}table.from_table", "manifest from-table f", {"rig": rig_of(), "base": None, "encoding": None}),
        (f"{MANIFEST}nuscenes.from_nuscenes", "manifest from-nuscenes f",
         {"dataroot": "f", "out": "m", "version": "v1.0-mini", "stride": 6, "fps": 10, "frames": 5,
          "rig": rig_of("nuscenes"), "captions": Captions("{description}"), "base": None}),
        (f"{MANIFEST}nuscenes.from_nuscenes",
         "manifest from-nuscenes f --version v --stride 2 --fps 5 --frames 1 --prompt p --cameras waymo --base b",
         {"version": "v", "stride": 2, "fps": 5, "frames": 1, "rig": rig_of("waymo"), "captions": Captions("p"),
          "base": "b"}),
        (f"{MANIFEST}by_camera.from_rds_hq", "manifest from-rds-hq f",
         {"folder": "f", "out": "m", "rig": rig_of("rds-hq"), "captions": Captions(), "fps": None, "frames": None,
          "base": None}),
        (f"{MANIFEST}by_camera.from_rds_hq",
         "manifest from-rds-hq f --views rear --prompt p --fps 7 --frames 5 --base b",
         {"rig": rig_of("rds-hq", "rear"), "captions": Captions("p"), "fps": 7, "frames": 5, "base": "b"}),
        (f"{MANIFEST}batch_json.from_batch_json", "manifest from-batch-json f --cameras waymo --base b",
         {"source": "f", "out": "m", "rig": rig_of("waymo"), "base": "b"}),
        (f"{MANIFEST}multiview_json.from_multiview_json", "manifest from-multiview-json f g --n-views 2 --base b",
         {"sources": ["f", "g"], "out": "m", "rig": rig_of(n_views=2), "base": "b"}),
        (f"{MANIFEST}vary.vary", "manifest vary --in f --seeds 3:5 --base b",
         {"source": "f", "out": "m", "variations": Variations({}, "", (3, 4)), "base": "b"}),
        (f"{MANIFEST}vary.vary", "manifest vary --in f --set x=a,b --template {prompt}{x}",
         {"variations": Variations({"x": ("a", "b")}, "{prompt}{x}"), "base": None}),
    ],
)  # fmt: skip
def test_every_word_of_a_command_has_its_place(told: Any, target: str, command: str, expected: dict[str, Any]) -> None:
    words = [*command.split(), *(("--out", "m") if command.startswith("manifest") else ())]
    found = told(target, *words)
    assert {name: found[name] for name in expected} == expected


def test_refining_a_manifest_takes_the_settings_of_a_job(told: Any, file: Path) -> None:
    words = ("manifest", "refine", "--in", "in.parquet", "--out", "m", "--endpoint", "http://h:1/v1", "--config", file)
    found = told("cosmos_ray.job.refine.refine_manifest", *words, "--model", "tiny", "--set", "refiner.attempts=3")
    config, refiner = found["config"], found["config"].refiner
    assert (config.manifest, config.model, config.sampling.num_steps) == ("in.parquet", "tiny", 7)
    assert (refiner.backend, refiner.url, refiner.attempts) == ("endpoint", "http://h:1/v1", 3)
    assert found["out"] == "m"


def test_who_refines_is_the_flags_to_say(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--set` says besides is told, where it says something else."""
    notes: list[str] = []
    monkeypatch.setattr("cosmos_ray.cli.manifest.note", notes.append)
    words = ("manifest", "refine", "--in", "in.parquet", "--out", "m", "--endpoint", "http://h:1/v1", "--set")
    for said in ("refiner.url=http://other:1/v1", "refiner.url=http://h:1/v1"):
        refiner = told("cosmos_ray.job.refine.refine_manifest", *words, said)["config"].refiner
        assert (refiner.backend, refiner.url) == ("endpoint", "http://h:1/v1")
    assert notes == ["warning: --set refiner.url says something else than --endpoint, which is what counts"]


def test_looking_at_a_video_takes_the_settings_of_a_job(told: Any, tmp_path: Path) -> None:
    words = ("inspect", "a.mp4", "--model", "tiny", "--n-views", "2", "--num-conditional-frames", "5", "--fps", "7")
    found = told("cosmos_ray.job.inspect.inspect_video", *words, "--to", tmp_path / "to", "--set", "inputs.fit=pad")
    assert [found[name] for name in ("n_views", "num_conditional_frames", "fps", "to")] == [2, 5, 7, tmp_path / "to"]
    assert (found["bundle"].name, found["config"].fit) == ("tiny", "pad")
    plain = told("cosmos_ray.job.inspect.inspect_video", "inspect", "a.mp4", "--model", "tiny")
    assert [plain[name] for name in ("n_views", "num_conditional_frames", "fps", "to")] == [1, 1, 10, None]
