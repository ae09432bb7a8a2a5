"""`jobs/multiview25.py` and `jobs/transfer_multiview.py`: the published specs in, the published files out.

* keys, defaults and refusals are those of the published programs
* a spec is a row; the command line wins over it; files of a spec's folder are found from anywhere
* views one after the other in time, stacked, an mp4 each, or a grid
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.videos import numbered, numbers

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.manifest.builders.inference_specs import PredictSpec, TransferSpec, read_specs, write_specs
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.published import multiview25, transfer_multiview
from cosmos_ray.published.inference import check_results, overrides_of, work_folder
from cosmos_ray.published.layouts import names_of, write_views

PREDICT = {"name": "a", "inference_type": "video2world", "prompt": "A street."} | {
    view: {"video_path": f"in/{view}.mp4"} for view in VIEWS
}
TRANSFER = {"name": "a", "prompt": "A street."} | {
    view: {"input_path": f"{view}.mp4", "control_path": f"{view}_map.mp4"} for view in ("rear", "front_wide")
}


def put(path: Path, *specs: dict[str, Any]) -> str:
    text = {".jsonl": "\n".join(map(json.dumps, specs)), ".json": json.dumps(specs[0])}
    path.write_text(text.get(path.suffix) or "\n".join(f"{k}: {json.dumps(v)}" for k, v in specs[0].items()))
    return str(path)


def rows(source: str, kind: Any, out: Path, **overrides: Any) -> list[dict[str, Any]]:
    write_specs(read_specs([source], kind, overrides), str(out))
    return pq.read_table(out).to_pylist()


@pytest.mark.parametrize("suffix", ["json", "jsonl", "yaml"])
def test_a_spec_of_predict25_is_a_row(tmp_path: Path, suffix: str) -> None:
    (row,) = rows(put(tmp_path / f"spec.{suffix}", PREDICT), PredictSpec, tmp_path / "m.parquet")
    assert row["input_videos"] == {view: f"in/{view}.mp4" for view in VIEWS}
    plain = ("num_conditional_frames", "seed", "guidance", "num_steps", "fps", "num_chunks")
    assert [row[name] for name in plain] == [5, 0, 3, 35, 30, 1]


def test_text2world_names_its_cameras_and_uses_none(tmp_path: Path) -> None:
    spec = PREDICT | {"inference_type": "text2world"}
    (row,) = rows(put(tmp_path / "s.json", spec), PredictSpec, tmp_path / "m.parquet")
    assert "input_videos" not in row
    del spec["rear"]
    with pytest.raises(ManifestError, match="rear is missing"):
        read_specs([put(tmp_path / "s.json", spec)], PredictSpec, {})


def test_a_spec_of_transfer25_is_a_row_of_its_cameras_in_rig_order(tmp_path: Path) -> None:
    longer = {"enable_autoregressive": True, "num_chunks": 3, "chunk_overlap": 9}
    spec = TRANSFER | {"control_weight": 0.5} | longer
    (row,) = rows(put(tmp_path / "s.json", spec), TransferSpec, tmp_path / "m.parquet")
    assert row["views"] == ["front_wide", "rear"]
    assert row["control_videos"] == {"front_wide": "front_wide_map.mp4", "rear": "rear_map.mp4"}
    plain = ("fps", "num_chunks", "chunk_overlap", "control_weight", "num_conditional_frames")
    assert [row[name] for name in plain] == [10, 3, 9, 0.5, 1]
    for unsaid in ({"enable_autoregressive": False}, {"num_chunks": 1}):
        (row,) = rows(put(tmp_path / "s.json", spec | unsaid), TransferSpec, tmp_path / "m.parquet")
        assert (row["num_chunks"], row.get("chunk_overlap")) == (1, None)
    no_input = {"name": "b", "prompt": "p", "num_conditional_frames": 0, "rear": {"control_path": "r.mp4"}}
    (row,) = rows(put(tmp_path / "s.json", no_input), TransferSpec, tmp_path / "m.parquet")
    assert "input_videos" not in row


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        (PredictSpec, PREDICT | {"sead": 1}, "there is no key sead; `seed` is near"),
        (PredictSpec, PREDICT | {"seed": True}, "seed: found true, expected a whole number"),
        (TransferSpec, TRANSFER | {"control_weight": False}, "control_weight: found false, expected a number"),
        (TransferSpec, TRANSFER | {"num_conditional_frames": True}, "num_conditional_frames: found true, expected"),
        (PredictSpec, PREDICT | {"negative_prompt": "ugly"}, 'negative_prompt: found "ugly", expected null'),
        (PredictSpec, PREDICT | {"guidance": 8}, "guidance: found 8, expected at most 7"),
        (TransferSpec, TRANSFER | {"guidance": -1}, "guidance: found -1, expected at least 0"),
        (TransferSpec, TRANSFER | {"control_weight": 1.5}, r"control_weight: found 1\.5, expected at most 1"),
        (TransferSpec, TRANSFER | {"num_steps": 0}, "num_steps: found 0, expected at least 1"),
        (PredictSpec, PREDICT | {"front": {"video_path": "x"}}, "there is no key front; `front_"),
        (PredictSpec, PREDICT | {"prompt_path": "p.txt"}, "one of `prompt` and `prompt_path`"),
        (
            PredictSpec,
            PREDICT | {"enable_autoregressive": True, "chunk_overlap": 2},
            "chunk_overlap: found 2, expected 1: .*takes black frames for given ones",
        ),
        (
            TransferSpec,
            TRANSFER | {"enable_autoregressive": True, "chunk_overlap": 0},
            "chunk_overlap: found 0, expected at least 1",
        ),
        (TransferSpec, TRANSFER | {"inference_type": "text2world"}, "there is no key inference_type"),
        (TransferSpec, {"name": "a", "prompt": "p"}, "at least one of the cameras"),
        (TransferSpec, TRANSFER | {"rear": {"control_path": "r.mp4"}}, "no `input_path` of rear"),
        (TransferSpec, TRANSFER | {"rear": {"input_path": "r.mp4"}}, "rear.control_path is missing"),
        (
            TransferSpec,
            TRANSFER | {"rear": TRANSFER["rear"] | {"num_conditional_frames_per_view": 1}},
            "num_conditional_frames_per_view: found without that of front_wide, expected all or none",
        ),
        (
            TransferSpec,
            TRANSFER
            | {view: TRANSFER[view] | {"num_conditional_frames_per_view": 5} for view in ("rear", "front_wide")},
            "num_conditional_frames_per_view: found 5, expected num_conditional_frames, 1",
        ),
    ],
)
def test_what_the_published_programs_refuse_is_refused_by_name(
    tmp_path: Path, kind: Any, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        read_specs([put(tmp_path / "s.json", spec)], kind, {})


NUMBERS = {"seed": "012", "num_steps": "1e1", "control_weight": "1e-3", "prompt": "12:30", "name": "007"}


def test_numbers_of_yaml_are_decimal_and_only_numbers(tmp_path: Path) -> None:
    """In YAML 1.1, 012 is ten, 12:30 is 750, and `no` is 0."""
    path = tmp_path / "s.yaml"

    def read(**changed: str) -> Any:
        rest = {key: json.dumps(value) for key, value in PREDICT.items()} | changed
        path.write_text("\n".join(f"{key}: {value}" for key, value in rest.items()))
        (found,) = read_specs([str(path)], PredictSpec, {})
        return found.spec

    spec = read(**NUMBERS)
    assert {key: getattr(spec, key) for key in NUMBERS} == {
        "seed": 12, "num_steps": 10, "control_weight": 0.001, "prompt": "12:30", "name": "007",
    }  # fmt: skip
    for value in ("no", "1:30", "0x10"):
        with pytest.raises(ManifestError, match=r"seed: found .*, expected a whole number"):
            read(seed=value)
    assert read(enable_autoregressive="no").enable_autoregressive is False


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.jsonl", '{"a": 1}\n\n{"a": }', "line 3: is no JSON: Expecting value at character 7"),
        ("s.jsonl", '{"a": 1, "a": 2}', "line 1: found the key 'a' twice"),
        ("s.json", '{"a": 1', "is no JSON: Expecting"),
        ("s.yaml", "a: 1\n---\nb: 2", "line 2: is no YAML of one spec: but found another document"),
        ("s.yaml", "a: [1", "is no YAML of one spec: "),
    ],
)
def test_where_a_file_is_broken_is_said(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=words):
        read_specs([str(tmp_path / name)], PredictSpec, {})


def test_two_clips_of_one_name_and_other_files_are_refused(tmp_path: Path) -> None:
    source = put(tmp_path / "s.jsonl", PREDICT, PREDICT)
    with pytest.raises(ManifestError, match=r"line 2 of .*: seed: found -1, expected at least 0"):
        read_specs([put(tmp_path / "faulty.jsonl", TRANSFER, TRANSFER | {"name": "b", "seed": -1})], TransferSpec, {})
    with pytest.raises(ManifestError, match="two specs have the name 'a'"):
        read_specs([source], PredictSpec, {})
    with pytest.raises(ManifestError, match=r"suffix '\.yaml', expected one of \.json, \.jsonl$"):
        read_specs([put(tmp_path / "s.yaml", TRANSFER)], TransferSpec, {})


def test_the_command_line_wins_over_the_specs(tmp_path: Path) -> None:
    source = put(tmp_path / "s.json", PREDICT)
    words = ["-i", source, "-o", str(tmp_path / "out"), "--seed", "7", "--enable-autoregressive", "--prompt", "Rain."]
    flags = multiview25.parser().parse_args(words)
    (row,) = rows(source, PredictSpec, tmp_path / "m.parquet", **overrides_of(flags))
    assert [row[name] for name in ("seed", "num_chunks", "prompt")] == [7, 2, "Rain."]
    plain = multiview25.parser().parse_args(words[:4])
    assert overrides_of(plain) == {}
    found = [read_specs([source], PredictSpec, overrides_of(one)) for one in (flags, plain)]
    assert work_folder(flags, found[0]) != work_folder(plain, found[1]), "another clip, another work folder"


def test_a_file_of_the_command_line_has_the_prompt_of_all_specs(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    source = put(tmp_path / "specs" / "s.json", PREDICT)
    (tmp_path / "rain.prompt").write_text("Rain.\n")
    flags = ["-i", source, "-o", str(tmp_path / "out"), "--prompt-path", str(tmp_path / "rain.prompt")]
    said = overrides_of(multiview25.parser().parse_args(flags))
    (row,) = rows(source, PredictSpec, tmp_path / "m.parquet", **said)
    assert row["prompt"] == "Rain."
    both = overrides_of(multiview25.parser().parse_args([*flags, "--prompt", "Snow."]))
    with pytest.raises(ManifestError, match="expected one of `prompt` and `prompt_path`"):
        read_specs([source], PredictSpec, both)


@pytest.mark.parametrize("program", [multiview25, transfer_multiview])
def test_help_shows_flags_as_people_know_them(program: Any) -> None:
    assert "SAID_" not in program.parser().format_help()
    assert "--num-steps NUM_STEPS" in program.parser().format_help()


@pytest.mark.parametrize("flag", ["--keep-going", "--no-keep-going", "--no-offload-tokenizer", "--profile"])
def test_a_flag_without_effect_is_said_in_both_its_forms(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-i", str(tmp_path / "none.json"), "-o", str(tmp_path / "out")]
    assert multiview25.main([*words, flag]) == 2
    assert f"flags without effect here: {flag.replace('--no-', '--')}: " in capsys.readouterr().err
    multiview25.main(words)
    assert "without effect" not in capsys.readouterr().err


def test_the_published_negative_prompt_is_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        multiview25.parser().parse_args(["-i", "s.json", "-o", "out", "--negative-prompt", "ugly"])
    assert "argument --negative-prompt: null is all that it may be there" in capsys.readouterr().err


def test_bad_specs_end_with_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = put(tmp_path / "s.json", TRANSFER | {"sead": 1})
    assert transfer_multiview.main(["-i", source, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"transfer_multiview.py: {source}: there is no key sead")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["input_path", "control_path"])
def test_no_account_of_a_strangers_spec_is_asked(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job's credentials would go there."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    camera = {"input_path": "r.mp4", "control_path": "c.mp4", key: "abfs://c@other.dfs.core.windows.net/a.mp4"}
    source = put(tmp_path / "s.json", TRANSFER | {"rear": camera})
    flags = transfer_multiview.parser().parse_args(["-i", source, "-o", str(tmp_path / "out")])
    with pytest.raises(UsageError, match="its account other is not the environment's"):
        check_results(flags, read_specs([source], TransferSpec, {}))


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ([PREDICT | {"name": "spec"}], r"out/spec\.json is an input, and would be written over"),
        ([PREDICT | {"rear": {"video_path": "a.mp4"}}], r"out/a\.mp4 is an input"),
        ([PREDICT | {"prompt": None, "prompt_path": "a.mp4"}], r"out/a\.mp4 is an input"),
        ([TRANSFER | {"rear": {"input_path": "r.mp4", "control_path": "a.mp4"}}], r"out/a\.mp4 is an input"),
        (
            [TRANSFER | {"save_combined_views": False}, TRANSFER | {"name": "a_grid"}],
            r"two results would be written to .*/link/a_grid\.mp4",
        ),
        ([TRANSFER | {"save_combined_views": False}, TRANSFER | {"name": "a_front"}], ""),
        ([TRANSFER, TRANSFER | {"name": "./a"}], r"two results would be written to .*/link/\./a\.mp4"),
    ],
)
def test_no_result_is_written_over_an_input_or_another_result(
    tmp_path: Path, specs: list[dict[str, Any]], words: str
) -> None:
    """Links and all: the output is named by one, the inputs lie where it leads."""
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    source = put(tmp_path / f"out/spec.json{'l' if len(specs) > 1 else ''}", *specs)
    program = multiview25 if "inference_type" in specs[0] else transfer_multiview
    flags = program.parser().parse_args(["-i", source, "-o", str(tmp_path / "link")])
    found = read_specs([source], PredictSpec if program is multiview25 else TransferSpec, {})
    if not words:
        check_results(flags, found)
        return
    with pytest.raises(UsageError, match=words):
        check_results(flags, found)
    assert program.main(["-i", source, "-o", str(tmp_path / "link")]) == 2, "before anything is made"


def test_names_are_those_of_what_is_written() -> None:
    videos = {view: encode_mp4(numbered(2), 30) for view in ("front_wide", "rear")}
    for spec in (
        PredictSpec.model_validate(PREDICT), TransferSpec.model_validate(TRANSFER),
        TransferSpec.model_validate(TRANSFER | {"save_combined_views": False}),
    ):  # fmt: skip
        assert names_of(spec) == list(write_views(spec, videos))


def test_views_are_laid_out_as_published() -> None:
    videos = {view: encode_mp4(numbered(2, first=10 * n), 30) for n, view in enumerate(("front_wide", "rear"))}
    spec = PredictSpec.model_validate(PREDICT)
    (whole,) = write_views(spec, videos).values()
    assert numbers(decode_mp4(whole)) == [0, 1, 10, 11]
    (stacked,) = write_views(spec.model_copy(update={"stack_mode": "height"}), videos).values()
    rows = decode_mp4(stacked)
    assert rows.shape == (2, 64, 32, 3)
    assert (numbers(rows[:, :32]), numbers(rows[:, 32:])) == ([0, 1], [10, 11])
    steered = TransferSpec.model_validate(TRANSFER | {"save_combined_views": False})
    files = write_views(steered, videos)
    assert list(files) == ["a_front_wide.mp4", "a_rear.mp4", "a_grid.mp4"]
    grid = decode_mp4(files["a_grid.mp4"])
    assert grid.shape == (2, 96, 96, 3)
    assert numbers(grid[:1, :32, 32:64]) == [10]
    assert np.all(grid[:, 32:] < 3)


def test_the_manifest_builder_reads_the_same_files(tmp_path: Path) -> None:
    specs = [put(tmp_path / "p.yaml", PREDICT | {"name": "p"}), put(tmp_path / "t.jsonl", TRANSFER | {"name": "t"})]
    out = tmp_path / "m.parquet"
    from_multiview_json(specs[:1], str(out))
    assert pq.read_table(out).to_pylist()[0]["input_videos"]["rear"] == "in/rear.mp4"
    built = from_multiview_json(specs[1:], str(out))
    (row,) = pq.read_table(out).to_pylist()
    assert row["control_videos"] == {"front_wide": "front_wide_map.mp4", "rear": "rear_map.mp4"}
    assert row["views"] == ["front_wide", "rear"]
    assert not built.warnings
