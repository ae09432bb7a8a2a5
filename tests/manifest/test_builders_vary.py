"""Many rows of each: products whose ids stay when a value or a seed is added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import clips, read

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.vary import variations_of
from cosmos_ray.manifest.builders.vary import vary as vary_manifest
from cosmos_ray.manifest.rows import ID_PATTERN

TEMPLATE = "{prompt} Weather: {weather}."
ROWS = [
    {"id": "a", "prompt": "A {street}.", "seed": 9, "input_video": "in/a.mp4", "scene": 3},
    {"id": "b", "prompt": "A road.", "seed": None, "input_video": None, "scene": 4},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "m.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.fixture
def vary(tmp_path: Path, source: Path) -> Callable[..., Built]:
    def build(sets: Sequence[str] = (), template: str | None = None, seeds: str | None = None, to: str = "v") -> Built:
        return vary_manifest(str(source), str(tmp_path / f"{to}.parquet"), variations_of(sets, template, seeds))

    return build


def test_every_row_gets_every_combination(tmp_path: Path, vary: Callable[..., Built]) -> None:
    built = vary(["weather=rain,heavy fog", "hour=noon,night"], TEMPLATE + " Hour: {hour}.", "0:2")
    assert built.rows == 2 * 2 * 2 * 2
    assert built.remarks == ("8 of each of 2 rows: hour 2, weather 2, seeds 2",)
    rows = read(tmp_path / "v.parquet")
    assert [row["id"] for row in rows[:3]] == [
        "a.hour-noon.weather-rain.seed-0",
        "a.hour-noon.weather-rain.seed-1",
        "a.hour-noon.weather-heavy-fog.seed-0",
    ]
    assert rows[2] == {
        "id": "a.hour-noon.weather-heavy-fog.seed-0", "prompt": "A {street}. Weather: heavy fog. Hour: noon.",
        "seed": 0, "input_video": "source/in/a.mp4", "scene": 3, "hour": "noon", "weather": "heavy fog",
    }  # fmt: skip
    assert [clip.inputs for clip in clips(tmp_path / "v.parquet")][7:9] == [(f"{tmp_path}/source/in/a.mp4",), ()]


def test_what_is_added_later_leaves_all_rows_as_they_are(tmp_path: Path, vary: Callable[..., Built]) -> None:
    vary(["weather=rain,+5 C"], TEMPLATE, "0:2")
    vary(["weather=fog,+5 C,rain,雨"], TEMPLATE, "17,0:3", to="more")
    before = {row["id"]: row for row in read(tmp_path / "v.parquet")}
    after = {row["id"]: row for row in read(tmp_path / "more.parquet")}
    assert (len(before), len(after)) == (2 * 2 * 2, 2 * 4 * 4)
    assert {row_id: after[row_id] for row_id in before} == before
    assert all(ID_PATTERN.fullmatch(row_id) for row_id in after)
    hashes = [{clip.id: clip.row_hash for clip in clips(tmp_path / f"{to}.parquet")} for to in ("v", "more")]
    assert hashes[0].items() <= hashes[1].items()


def test_seeds_alone_leave_captions_and_everything_else(tmp_path: Path, vary: Callable[..., Built]) -> None:
    vary(seeds="5")
    assert read(tmp_path / "v.parquet") == [
        {**row, "id": f"{row['id']}.seed-5", "seed": 5, "input_video": uri}
        for row, uri in zip(ROWS, ("source/in/a.mp4", None), strict=True)
    ]


def test_lists_of_captions_are_templated_each(tmp_path: Path, source: Path, vary: Callable[..., Built]) -> None:
    """And lists and structs of references start from the new manifest's folder; rows of several files from theirs."""
    rows: list[dict[str, Any]] = [
        {"id": "a", "prompt": ["front", ""], "views": ["front_wide", "rear"],
         "input_frames": {"front_wide": ["f/1.jpg", "/f/2.jpg"], "rear": ["r/1.jpg", "r/2.jpg"]}},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), source)
    vary(["weather=rain"], "{prompt}, in {weather}")
    (row,) = read(tmp_path / "v.parquet")
    assert row["prompt"] == ["front, in rain", ""]
    assert row["input_frames"]["front_wide"] == ["source/f/1.jpg", "/f/2.jpg"]
    (clip,) = clips(tmp_path / "v.parquet")
    assert clip.frames[1] == tuple(f"{tmp_path}/source/r/{number}.jpg" for number in (1, 2))


def test_a_million_rows_take_no_more_memory_than_a_batch(
    tmp_path: Path, source: Path, vary: Callable[..., Built]
) -> None:
    """Row groups are written as they come: as many as batches were read."""
    rows = [{"id": f"r{number}", "prompt": "x"} for number in range(2500)]
    pq.write_table(pa.Table.from_pylist(rows), source)
    assert vary(seeds="0:2").rows == 5000
    written = pq.ParquetFile(tmp_path / "v.parquet").metadata
    assert [written.row_group(number).num_rows for number in range(written.num_row_groups)] == [2048, 2048, 904]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "found neither --set nor --seeds"),
        ((["weather=rain"],), "--template: found none, so that all values of weather would make the same clip"),
        ((["weather=rain"], "{prompt}"), "--template: '{prompt}' does not use {weather}, so that all values"),
        ((["weather=rain"], "{prompt} {sky}"), "--template: found {sky}, expected {prompt}, {weather}"),
        ((["weather=rain"], "{prompt.__class__} {weather}"), "--template: found {prompt.__class__}, expected"),
        ((["weather=rain"], "{prompt!r} {weather}"), "--template: found {prompt!r}, expected"),
        ((["weather=rain"], "{prompt {weather}"), "--template: found .*which is no template"),
        ((["weather"],), "--set: found 'weather', expected NAME=VALUE,VALUE"),
        ((["weather=rain,"],), "--set: found 'weather=rain,', expected NAME=VALUE"),
        ((["weather=rain", "weather=fog"],), "--set: found weather=rain, weather=fog, expected each name once"),
        ((["weather=heavy rain,heavy-rain"],), "expected values that differ in their letters and digits"),
        ((["weather=Rain,rain"],), "expected values that differ in their letters and digits"),
        ((["seed=1,2"],), "--set: found 'seed', which is a column of the manifest's own"),
        ((["steps=10,35"], "{prompt} {steps}"), "--set: found 'steps', which is nearly `num_steps`, expected another"),
        ((["scene=1,2"], "{prompt} {scene}"), "--set: the manifest has a column `scene` already"),
        (((), None, "0:"), "--seeds: found '0:', expected numbers and ranges"),
        (((), None, "0:5000000000"), "--seeds: found '0:5000000000', expected at most 1,000,000 seeds"),
        (((), None, "0:600000,600000:1200000"), "--seeds: found '0:600000,.*', expected at most 1,000,000 seeds"),
        ((["a=1,2"], "{a}", "0:600000"), "found 1,200,000 combinations, expected at most 1,000,000 of each row"),
        (((), None, "3:3"), "--seeds: found '3:3', expected one or more from 0 to 4294967295, each once"),
        (((), None, "1,0:2"), "--seeds: found '1,0:2', expected one or more .*each once"),
        ((["weather=" + "x" * 130], TEMPLATE), "row 'a' would become 'a.weather-xxx"),
    ],
)
def test_what_cannot_be_varied_is_said(
    tmp_path: Path, vary: Callable[..., Built], arguments: Sequence[Any], complaint: str
) -> None:
    with pytest.raises(ManifestError, match=complaint):
        vary(*arguments)
    assert not (tmp_path / "v.parquet").exists()


def test_texts_with_commas_are_a_json_list(tmp_path: Path, vary: Callable[..., Built]) -> None:
    vary(['weather=["rain, at last", "fog"]'], "{prompt} {{Weather}}: {weather}.")
    rows = read(tmp_path / "v.parquet")
    assert rows[0]["id"] == "a.weather-rain-at-last"
    assert rows[0]["prompt"] == "A {street}. {Weather}: rain, at last."


def test_captions_that_are_embeddings_cannot_be_templated(source: Path, vary: Callable[..., Built]) -> None:
    pq.write_table(pa.table({"id": ["a"], "prompt_embedding": ["a.pt"]}), source)
    with pytest.raises(ManifestError, match="has no column `prompt` that a template could be put round"):
        vary(["weather=rain"], TEMPLATE)
    pq.write_table(pa.table({"id": ["a", "b"], "prompt": ["x", None], "prompt_embedding": [None, "a.pt"]}), source)
    with pytest.raises(ManifestError, match=r"row 'b' has no `prompt` that '\{prompt\} Weather"):
        vary(["weather=rain"], TEMPLATE)
    vary(seeds="0:2")
    with pytest.raises(ManifestError, match="which is read, expected another place"):
        vary_manifest(str(source), str(source), variations_of(seeds="0:2"))
    (source.parent / "link.parquet").symlink_to(source)
    with pytest.raises(ManifestError, match="which is read, expected another place"):
        vary_manifest(str(source), str(source.parent / "link.parquet"), variations_of(seeds="0:2"))


def test_what_is_written_is_no_part_of_what_was_read(tmp_path: Path) -> None:
    """A folder's next reader would find the rows of both."""
    folder = tmp_path / "m"
    for part in ("day=1", "day=2"):
        (folder / part).mkdir(parents=True)
        pq.write_table(pa.table({"id": [part[-1]], "prompt": ["x"]}), folder / part / "a.parquet")
    twice = variations_of(seeds="0:2")
    for read_from, out in (
        (folder, "v.parquet"),
        (folder, "day=3/v.pq"),
        (folder / "*/a*.parquet", "day=1/ab.parquet"),
    ):
        with pytest.raises(ManifestError, match=f"--out: found {folder}/{out}, which is read, expected another place"):
            vary_manifest(str(read_from), str(folder / out), twice)
    for read_from, out in ((folder / "*/*.parquet", "v.parquet"), (folder / "*/*.parquet", "day=1/b/v.parquet")):
        assert vary_manifest(str(read_from), str(folder / out), twice).rows == 4


def test_a_template_counts_beside_seeds_alone(tmp_path: Path, vary: Callable[..., Built]) -> None:
    vary(template="{prompt} At night.", seeds="0:2")
    assert [row["prompt"] for row in read(tmp_path / "v.parquet")][:3] == ["A {street}. At night."] * 2 + [
        "A road. At night."
    ]


def test_ids_tell_values_apart_that_differ_in_sign_or_in_other_letters(
    tmp_path: Path, vary: Callable[..., Built]
) -> None:
    vary(["degrees=-5,5", "place=caf\u00e9,caf\u00e8"], "{prompt} {degrees} {place}")
    ids = [row["id"] for row in read(tmp_path / "v.parquet")][:4]
    assert len(set(ids)) == 4
    assert all(ID_PATTERN.fullmatch(one) for one in ids)
    assert [one.partition(".place-")[0] for one in ids] == [
        "a.degrees--5",
        "a.degrees--5",
        "a.degrees-5",
        "a.degrees-5",
    ]


def test_ids_that_repeat_are_refused(tmp_path: Path, source: Path, vary: Callable[..., Built]) -> None:
    pq.write_table(pa.Table.from_pylist([{"id": "a", "prompt": "x"}] * 2), source)
    with pytest.raises(ManifestError, match="two rows have the id 'a'"):
        vary(seeds="0:2")
    assert not (tmp_path / "v.parquet").exists()


def test_references_may_start_from_elsewhere(tmp_path: Path, source: Path) -> None:
    vary_manifest(str(source), str(tmp_path / "v.parquet"), variations_of(seeds="0"), "s3://b/drives")
    assert read(tmp_path / "v.parquet")[0]["input_video"] == "s3://b/drives/in/a.mp4"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"seeds": f"0:{10**30}"}, "--seeds: found .*, expected at most 1,000,000 seeds"),
        ({"seeds": "9" * 5000}, "--seeds: found '9{50,200}.*, expected numbers from 0 to"),
        ({"seeds": f"0,0:{'9' * 5000}"}, "--seeds: found .*, expected numbers from 0 to"),
        ({"sets": ["place=caf\udce9"], "template": "{place}"}, "--set: found .*, expected a text in UTF-8"),
        ({"sets": ['place=["caf\\ud800"]'], "template": "{place}"}, "--set: found .*, expected a text in UTF-8"),
        ({"sets": ["place=a"], "template": "{place} \udce9"}, "--template: found .*, expected a text in UTF-8"),
    ],
)
def test_numbers_and_texts_that_are_none_are_refused(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        variations_of(**said)


def test_references_of_several_files_start_from_each_ones_folder(tmp_path: Path) -> None:
    for name in ("one", "two/deep"):
        (tmp_path / "m" / name).mkdir(parents=True)
        row = {"id": name[:3], "prompt": "A road.", "input_video": "in/a.mp4"}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "m" / name / "m.parquet")
    vary_manifest(str(tmp_path / "m"), str(tmp_path / "v.parquet"), variations_of(seeds="1"))
    assert [row["input_video"] for row in read(tmp_path / "v.parquet")] == ["m/one/in/a.mp4", "m/two/deep/in/a.mp4"]
