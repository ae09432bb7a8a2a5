"""The index of what was made: a row a clip, with the manifest's columns as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, EMPTY, ROWS, clips, settle

from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.index import write_index
from cosmos_ray.store.storage import Storage


def read_index(output: Storage) -> pa.Table:
    return pq.read_table(output.uri_of("index.parquet"))


def test_the_index_has_a_row_for_each_clip_that_was_made(manifest: str, output: Storage) -> None:
    known = clips(manifest)
    settle(output, known["e"])
    settle(output, known["b.s002"])
    settle(output, known["a"], "oom")
    assert write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state()) == 2
    table = read_index(output)
    assert table.column("id").to_pylist() == ["b.s002", "e"]  # in the manifest's order
    assert table.column("row_id").to_pylist() == ["b", "e"]
    assert table.column("seed").to_pylist() == [known["b.s002"].seed, 5]
    assert table.column("prompt").to_pylist() == ["a bridge", "snow"]
    assert table.column("seconds").to_pylist() == [12.5, 12.5]
    videos = {name: table[name].to_pylist()[1] for name in table.column_names if name.startswith("video_")}
    assert {name: path for name, path in videos.items() if path} == {
        f"video_{view}": f"clips/e/1/{view}.mp4" for view in ("front_wide", "rear")
    }
    assert list(videos) == [f"video_{view}" for view in VIEWS]
    assert dict(table.column("sha256").to_pylist()[1])["rear"] == "sha of rear"
    assert table.column("sidecar").to_pylist()[1] == "clips/e/1/clip.json"


def test_the_index_carries_the_manifests_columns_untouched(tmp_path: Path, output: Storage) -> None:
    """Of any type, nested ones too; each sample of a row gets its row's."""
    carried = pa.table(
        {
            "id": ["a", "b"],
            "prompt": ["p", "p"],
            "num_samples": [2, 1],
            "tags": pa.array([["wet", "night"], None], pa.list_(pa.string())),
            "pose": pa.array(
                [{"x": 1.5, "y": None}, {"x": 2.5, "y": 3}], pa.struct([("x", pa.float32()), ("y", pa.int8())])
            ),
            "taken": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "thumbnail": pa.array([b"\x00\xff", b""], pa.binary()),
        }
    )
    pq.write_table(carried, tmp_path / "m.parquet")
    manifest = str(tmp_path / "m.parquet")
    for clip in clips(manifest).values():
        settle(output, clip)
    assert write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state()) == 3
    table = read_index(output)
    stored = pq.read_table(manifest)
    for name in ("tags", "pose", "taken", "thumbnail"):
        assert table.schema.field(name).type == stored.schema.field(name).type
        assert table.column(name).to_pylist() == [stored.column(name).to_pylist()[row] for row in (0, 0, 1)]


def test_no_words_of_a_blocked_row_are_repeated(tmp_path: Path, output: Storage) -> None:
    """Also not those that it said before its prompt was refined ahead."""
    words = {"prompt": "p refined", "negative_prompt": "not p", "original_prompt": "p", "weather": "fog"}
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", **words}, {"id": "b", **words}])
    known = clips(manifest)
    settle(output, known["a"], "guardrail")
    settle(output, known["b"], "oom")
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    blocked, failed = pq.read_table(output.uri_of("failures.parquet")).to_pylist()
    assert {name: blocked[name] for name in words} == {**dict.fromkeys(words), "weather": "fog"}
    assert {name: failed[name] for name in words} == words


def test_a_column_with_a_name_of_the_index_is_kept_under_another(tmp_path: Path, output: Storage) -> None:
    rows = [{"id": "a", "prompt": "p", "sidecar": "mine", "generation": "third", "seed": 4}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    settle(output, clips(manifest)["a"])
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    [row] = read_index(output).to_pylist()
    assert (row["manifest_sidecar"], row["manifest_generation"]) == ("mine", "third")
    assert (row["generation"], row["seed"]) == (0, 4)
    assert "manifest_id" not in row
    assert "manifest_seed" not in row


def test_the_index_points_to_the_newest_generation(manifest: str, output: Storage) -> None:
    clip = clips(manifest)["a"]
    settle(output, clip, "oom")
    Ledger(output).retry()
    settle(output, replace(clip, generation=1), attempt=4)
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    [row] = read_index(output).to_pylist()
    assert (row["id"], row["generation"], row["attempt"]) == ("a", 1, 4)


def test_the_index_of_many_batches_files_and_row_groups_misses_no_row(
    tmp_path: Path, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row gets its own columns, the seed of its own sample, and what was doubtful in its clip."""
    monkeypatch.setattr("cosmos_ray.output.index._ROWS_A_BATCH", 2)
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(2):
        ids = [f"{part}{row}" for row in range(5)]
        table = pa.table({"id": ids, "prompt": ids, "num_samples": [2] * 5, "seed": [1, 2, -1, 4, 5]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=3)
    known = clips(str(folder))
    for clip in known.values():
        settle(output, clip, "input" if clip.error else None, warnings=(f"of {clip.id}",))
    made = [clip for clip in known.values() if not clip.error]
    assert write_index(output, open_manifest(str(folder)), DEFAULTS, Ledger(output).state()) == len(made)
    table = read_index(output)
    assert table.column("id").to_pylist() == [clip.id for clip in made]
    assert table.column("prompt").to_pylist() == [clip.row_id for clip in made]
    assert table.column("seed").to_pylist() == [clip.seed for clip in made]
    assert table.column("warnings").to_pylist() == [[f"of {clip.id}"] for clip in made]


def test_the_index_says_what_clips_look_like_and_with_which_seed_they_were_made(manifest: str, output: Storage) -> None:
    known = clips(manifest)
    scores = {"front_wide": Scores(0, 0.5, 0, 1, 9, 30, 0.75), "rear": Scores(1, 0, 0, 2, 8, None, 0.25)}
    settle(output, known["e"], scores=scores, marks=("black: rear: 100 % (limit 50 %)",), seed=6)
    settle(output, known["b.s002"])  # of an older release
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    old, looked = read_index(output).to_pylist()
    assert (old["scores"], old["marks"], old["seed"]) == (None, [], known["b.s002"].seed)
    assert (looked["marks"], looked["seed"]) == (["black: rear: 100 % (limit 50 %)"], 6)
    views = looked["scores"].pop("views")
    assert looked["scores"] == scores["rear"].as_dict() | {"frozen": 0.5, "given_psnr_db": 30, "agreement": 0.5}
    assert views == [{"view": view, **of.as_dict()} for view, of in scores.items()]


def test_the_index_of_nothing_has_its_columns(manifest: str, output: Storage) -> None:
    assert write_index(output, open_manifest(manifest), DEFAULTS, EMPTY) == 0
    table = read_index(output)
    assert table.num_rows == 0
    assert {"id", "video_rear", "sha256", "prompt", "num_samples"} <= set(table.column_names)


def test_the_index_works_on_an_object_store(s3: str, tmp_path: Path) -> None:
    output = Storage(f"{s3}/out")
    Storage(s3).write("m.parquet", Path(write_manifest(tmp_path / "m.parquet", ROWS)).read_bytes())
    manifest = f"{s3}/m.parquet"
    for clip in clips(manifest).values():
        settle(output, clip, "input" if clip.error else None)
    assert write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state()) == 5
    (tmp_path / "index.parquet").write_bytes(output.read("index.parquet"))
    assert pq.read_table(tmp_path / "index.parquet")["video_rear"].to_pylist()[0] == "clips/a/1/rear.mp4"
