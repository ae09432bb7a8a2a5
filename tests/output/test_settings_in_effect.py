"""The index says with which settings each clip was made, whatever its row left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, begin, clips, settle

from cosmos_ray import results
from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.clip.settings import Settings
from cosmos_ray.ledger.compaction import compact
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import (
    RECORDS,
    SETTINGS,
    Record,
    record_path,
    records_of,
    table_of,
    with_all_columns,
)
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.columns import Columns
from cosmos_ray.output.index import write_index
from cosmos_ray.output.report.listing import clips_of, read_index
from cosmos_ray.store.storage import Storage

ROWS: list[dict[str, Any]] = [
    {"id": "says", "prompt": "p", "guidance": 3.0, "num_steps": 20, "n_views": 2, "negative_prompt": "", "fps": 5},
    {"id": "leaves-out", "prompt": "p"},
]
FAST = Approximations(solver="unipc", guidance_interval=(0.0, 0.5), attention="fp8")
#: Columns of strangers that have the names of ours.
HOSTILE = {"model": "a small van", "size": 4, "approximations": {"solver": "mine"}, "Model": 1}


def settings_of(clip: Any, approximations: Approximations = EXACT) -> Settings:
    return Settings(
        "tiny", clip.guidance, clip.num_steps, clip.cameras, clip.negative_prompt, approximations.in_effect,
        "128x64", 29, clip.fps, "exact" if approximations is EXACT else "fast", "float32", False,
        clip.num_conditional_frames,
    )  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    """One clip that says all and was approximated, one that leaves all out."""
    manifest = write_manifest(tmp_path / "m.parquet", [{**row, **HOSTILE} for row in ROWS])
    output = Storage(str(tmp_path / "out"))
    begin(output, manifest)
    known = clips(manifest)
    settle(output, known["says"], seed=7, settings=settings_of(known["says"], FAST))
    settle(output, known["leaves-out"], seed=0, settings=settings_of(known["leaves-out"]))
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    return output


SAYS = {
    "model": "tiny", "seed": 7, "guidance": 3.0, "num_steps": 20, "views": list(VIEWS[:2]), "negative_prompt": "",
    "approximations": FAST.in_effect, "size": "128x64", "frames": 29, "fps": 5, "preset": "fast", "numerics": "float32",
    "camera_prefix": False, "num_conditional_frames": 0,
}  # fmt: skip
LEFT_OUT = {
    "model": "tiny", "seed": 0, "guidance": 7.0, "num_steps": 35, "views": list(VIEWS), "negative_prompt": "blurry",
    "approximations": EXACT.in_effect, "size": "128x64", "frames": 29, "fps": 10, "preset": "exact",
    "numerics": "float32", "camera_prefix": False, "num_conditional_frames": 0,
}  # fmt: skip


def test_every_clip_says_what_it_was_made_with(output: Storage) -> None:
    said, left_out = pq.read_table(output.uri_of("index.parquet")).to_pylist()
    assert {name: said[name] for name in SAYS} == SAYS
    assert {name: left_out[name] for name in LEFT_OUT} == LEFT_OUT
    assert said["approximations"]["fp8_interval"] == [0.1, 0.95]
    assert left_out["approximations"]["fp8_interval"] is None


def test_what_a_record_says_counts_more_than_what_its_row_says_now(tmp_path: Path) -> None:
    """Also where it does not say all, as those of an earlier release."""
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    output = Storage(str(tmp_path / "out"))
    begin(output, manifest)
    known = clips(manifest)
    older = replace(settings_of(known["says"]), guidance=5.5, num_steps=11, num_conditional_frames=None)
    settle(output, known["says"], seed=70, settings=older)
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    (said,) = pq.read_table(output.uri_of("index.parquet")).to_pylist()
    assert (said["guidance"], said["num_steps"], said["seed"], said["num_conditional_frames"]) == (5.5, 11, 70, 0)


def test_a_manifests_own_columns_of_these_names_are_kept_beside_them(output: Storage) -> None:
    said, _ = pq.read_table(output.uri_of("index.parquet")).to_pylist()
    names = ("model", "size", "approximations")
    assert {name: said[f"manifest_{name}"] for name in names} == {name: HOSTILE[name] for name in names}
    assert said["manifest_manifest_Model"] == 1  # DuckDB knows no difference of case
    assert "manifest_guidance" not in said  # what the row says is what is in effect


def test_pandas_polars_duckdb_and_where_read_them(output: Storage) -> None:
    path = output.uri_of("index.parquet")
    assert pd.read_parquet(path)["guidance"].tolist() == [3.0, 7.0]
    solvers = pl.read_parquet(path)["approximations"].struct.field("solver").to_list()
    assert solvers == ["unipc", "published"]
    found = results(output.uri, where="approximations.attention = 'fp8' AND fps = 5 AND size = '128x64'")
    assert found["id"].tolist() == ["says"]
    assert results(output.uri, where="list_contains(views, 'rear')")["id"].tolist() == ["leaves-out"]
    assert results(output.uri, where="preset = 'fast' AND numerics = 'float32'")["id"].tolist() == ["says"]


def test_what_a_failed_row_says_is_in_the_same_columns(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "fails", "prompt": "p", "guidance": 2.0, "views": None, "seed": 9}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    output = Storage(str(tmp_path / "out"))
    begin(output, manifest)
    known = clips(manifest)
    settle(output, known["leaves-out"], settings=settings_of(known["leaves-out"]))
    settle(output, known["fails"], "oom")
    table = results(output.uri).set_index("id")
    assert (table.loc["fails", "guidance"], table.loc["fails", "seed"]) == (2.0, 9)
    assert table.loc["leaves-out", "guidance"] == 7.0
    assert results(output.uri, where="guidance < 3")["id"].tolist() == ["fails"]


def test_the_page_shows_them_and_exports_carry_them(output: Storage) -> None:
    state = Ledger(output).state()
    run = begin(output, str(Path(output.uri).parent / "m.parquet"))
    listing = clips_of(output, run, state, read_index(output, state))
    said, left_out = (dict(zip([name for name, _ in listing.columns], row, strict=True)) for row in listing.rows)
    assert (said["model"], said["size"], said["frames"], said["fps"]) == ("tiny", "128x64", 29, 5)
    assert said["approximations"].startswith("solver unipc, guidance_interval [0.0, 0.5], attention fp8")
    assert left_out["approximations"] == "none"
    assert said["manifest_size"] == 4
    carried = Columns(output).facts("leaves-out")["columns"]
    assert {carried[name] for name in ("guidance", "num_steps", "fps", "seed")} == {7.0, 35, 10, 0}
    assert carried["manifest_size"] == 4


def test_records_keep_them_as_json_as_rows_and_in_parts(output: Storage) -> None:
    ledger = Ledger(output)
    for record in records_of(ledger.state().contents.tail):
        assert record.settings is not None
        assert Record.from_json(record.to_json()) == record
        assert records_of(table_of([record])) == [record]
    manifest = open_manifest(str(Path(output.uri).parent / "m.parquet"))
    before = pq.read_table(output.uri_of("index.parquet"))
    compact(output, 1, ledger.state().contents)
    write_index(output, manifest, DEFAULTS, ledger.state())
    assert pq.read_table(output.uri_of("index.parquet")).equals(before)


def test_clips_of_an_earlier_release_say_what_their_rows_and_their_run_say(tmp_path: Path) -> None:
    """Size, frames, preset and camera_prefix nobody has written down."""
    manifest = write_manifest(tmp_path / "m.parquet", [{**row, "num_samples": 2} for row in ROWS])
    output = Storage(str(tmp_path / "out"))
    begin(output, manifest)
    for clip in clips(manifest).values():
        settle(output, clip)
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    found = {row["id"]: row for row in pq.read_table(output.uri_of("index.parquet")).to_pylist()}
    unknown = {"size": None, "frames": None, "preset": None, "camera_prefix": None, "numerics": "reference"}
    for name, expected in (("says.s001", SAYS), ("leaves-out.s000", LEFT_OUT)):
        known = {**expected, **unknown, "model": "fake", "approximations": EXACT.in_effect}
        assert {key: found[name][key] for key in known if key != "seed"} == {
            k: v for k, v in known.items() if k != "seed"
        }
    assert found["says.s001"]["seed"] == clips(manifest)["says.s001"].seed


NEW = ("preset", "numerics", "camera_prefix", "num_conditional_frames")


def test_records_and_parts_of_a_release_that_knew_fewer_settings_are_read(tmp_path: Path) -> None:
    """What is missing in them is what the row and the run say, or null."""
    rows = [{**ROWS[1], "id": name, "input_video": "in.mp4"} for name in ("object", "part")]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    output = Storage(str(tmp_path / "out"))
    begin(output, manifest)
    ledger = Ledger(output)
    fewer = pa.struct([field for field in SETTINGS if field.name not in NEW])
    records = [settle(output, clip, seed=3, settings=settings_of(clip)) for clip in clips(manifest).values()]
    facts = json.loads(output.read(record_path("object", 0)))
    facts["settings"] = {name: value for name, value in facts["settings"].items() if name not in NEW}
    output.write(record_path("object", 0), json.dumps(facts).encode())
    table = table_of(records[1:]).append_column("compacted_by", pa.array([1]))
    narrow = [pc.struct_field(table["settings"].combine_chunks(), field.name) for field in fewer]
    place = table.column_names.index("settings")
    table = table.set_column(place, "settings", pa.StructArray.from_arrays(narrow, fields=list(fewer)))
    pq.write_table(table, tmp_path / "part.parquet")
    read = with_all_columns(pq.read_table(tmp_path / "part.parquet"), RECORDS)
    for record in (*records_of(read), *(one for one in ledger.records() if one.id == "object")):
        assert record.settings is not None
        assert (record.settings.preset, record.settings.frames) == (None, 29)
    write_index(output, open_manifest(manifest), DEFAULTS, ledger.state())
    told, whole = pq.read_table(output.uri_of("index.parquet")).to_pylist()
    assert [told[name] for name in NEW] == [None, "reference", None, 1]
    assert (told["size"], told["negative_prompt"], told["approximations"]["solver"]) == (
        "128x64",
        "blurry",
        "published",
    )
    assert [whole[name] for name in NEW] == ["exact", "float32", False, 1]


def test_references_of_rows_that_were_kept_elsewhere_start_from_where_the_manifest_was(tmp_path: Path) -> None:
    """A local video is none for rows that lie in a bucket: what such a row asks for is not known."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p", "seed": 5, "input_video": "/a.mp4"}])
    output = Storage(str(tmp_path / "out"))
    settle(output, clips(manifest)["a"])
    for home, seed in ((None, 5), (str(tmp_path), 5), ("s3://bucket/set", 0)):
        write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state(), home=home)
        assert pq.read_table(output.uri_of("index.parquet"))["seed"].to_pylist() == [seed], home


def test_without_a_run_the_model_is_not_known(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    output = Storage(str(tmp_path / "out"))
    settle(output, clips(manifest)["says"])
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    [row] = pq.read_table(output.uri_of("index.parquet")).to_pylist()
    assert (row["model"], row["approximations"], row["guidance"]) == (None, None, 3.0)


def test_types_are_those_that_are_documented(output: Storage) -> None:
    schema = pq.read_schema(output.uri_of("index.parquet"))
    types = {name: schema.field(name).type for name in ("guidance", "num_steps", "size", "frames", "fps")}
    assert types == dict(zip(types, (pa.float64(), pa.int64(), pa.string(), pa.int64(), pa.int64()), strict=True))
