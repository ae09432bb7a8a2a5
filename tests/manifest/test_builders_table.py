"""The builder of tables: CSV as spreadsheets and pandas write it, JSONL, Parquet; what is meant, or an error."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import CAPTIONS, clips, put, read

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.table import from_table


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "m.parquet"


@pytest.fixture
def csv(tmp_path: Path, out: Path) -> Callable[..., Built]:
    """Builds out from a CSV of this content."""

    def build(content: str | bytes, **options: Any) -> Built:
        return from_table(str(put(tmp_path / "rows.csv", content)), str(out), **options)

    return build


# --- CSV ---


def test_types_are_made_right(csv: Callable[..., Built], out: Path) -> None:
    """Integers with gaps, as pandas writes them; words for nothing; numbers that are only carried, and what is none."""
    csv(
        "id,prompt,seed,num_steps,guidance,input_video,num_conditional_frames,scene,speed,code\n"
        "a,A street,7.0,35,2.5,in/a.mp4,5,3,1.5,007\n"
        '007,"Rain, at night",,NaN,N/A,#N/A,,,,12\n'
    )
    first, second = read(out)
    assert first == {
        "id": "a", "prompt": "A street", "input_video": "in/a.mp4", "num_conditional_frames": 5, "guidance": 2.5,
        "seed": 7, "num_steps": 35, "scene": 3, "speed": 1.5, "code": "007",
    }  # fmt: skip
    assert (second["id"], second["prompt"], second["code"]) == ("007", "Rain, at night", "12")
    assert {name for name, value in second.items() if value is None} == {
        "input_video", "num_conditional_frames", "guidance", "seed", "num_steps", "scene", "speed"
    }  # fmt: skip
    kinds = pq.read_schema(out)
    assert (kinds.field("seed").type, kinds.field("scene").type, kinds.field("speed").type) == (
        pa.int64(), pa.int64(), pa.float64()
    )  # fmt: skip
    assert len(clips(out)) == 2


def test_numbers_beyond_64_bits_that_are_only_carried_stay_as_they_are(csv: Callable[..., Built], out: Path) -> None:
    csv("id,prompt,hash,time,far\na,x,18446744073709551615,123456789012345678,1e30\nb,x,,2,2\n")
    found = [(row["hash"], row["time"], row["far"]) for row in read(out)]
    assert found == [("18446744073709551615", 123456789012345678, 1e30), (None, 2, 2.0)]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffid;prompt;guidance\r\na;Straße, nass;7,5\r\n".encode(),
        "sep=;\r\nid;prompt;guidance\r\na;Straße, nass;7,5\r\n;;\r\n".encode(),
        "id\tprompt\tguidance\na\tStraße, nass\t7.5\n".encode("utf-16"),
        'id , prompt,guidance,\na,"Straße, nass",7.5,\n'.encode(),
    ],
)
def test_spreadsheets_write_it_in_many_ways(csv: Callable[..., Built], out: Path, content: bytes) -> None:
    csv(content)
    assert read(out) == [{"id": "a", "prompt": "Straße, nass", "guidance": 7.5}]


def test_other_encodings_are_told_not_guessed(csv: Callable[..., Built], out: Path) -> None:
    content = "id;prompt\na;Straße\n".encode("cp1252")
    with pytest.raises(ManifestError, match=r"rows\.csv is no UTF-8 text: .* at byte \d+; `--encoding cp1252` reads"):
        csv(content)
    csv(content, encoding="cp1252")
    assert read(out)[0]["prompt"] == "Straße"
    with pytest.raises(ManifestError, match="--encoding: found 'latin-17'"):
        csv(content, encoding="latin-17")


def test_what_is_left_out_is_said(csv: Callable[..., Built], out: Path) -> None:
    """pandas' own row numbers, and the empty rows at a spreadsheet's end."""
    built = csv(",id,prompt,tag\n0,a,x,t\n,,,\n1,b,y,t\n,,,\n")
    assert [row["id"] for row in read(out)] == ["a", "b"]
    assert [words.partition(" of /")[0] for words in built.warnings] == [
        "rows without anything in them, which are left out: 2: row 2",
        "columns without a name, which are left out: 1: column 1",
    ]
    assert built.remarks == ("columns that are carried into the index as they are: tag",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("id,prompt\na,x\nb,nan\n", r"row 2 of .*rows\.csv: `prompt` is 'nan', which tables write for nothing"),
        ("id,prompt,negative_prompt\na,x,None\n", "row 1 of .*: `negative_prompt` is 'None', which tables write"),
        ("id,prompt,seed\na,x,seven\n", "row 1 of .*: `seed` is 'seven', expected an integer"),
        ("id,prompt,seed\na,x,9223372036854775808\n", "row 1 of .*: `seed` is 9223372036854775808, an int.* beyond 64"),
        ("id,prompt,seed\na,x,7.5\n", "row 1 of .*: `seed` is '7.5', expected an integer"),
        ("id,prompt,guidance\na,x,\"7,5\"\n", "`guidance` is '7,5', expected a number"),
        ("id,prompt,seed\na,x,-1\n", "row 1 of .*: column `seed`: found -1, expected an integer from 0"),
        ("id,prompt\na,x\na,y\n", "row 1 of .* and row 2 of .* both have the id 'a'"),
        ("id,prompt\n,x\n", "row 1 of .*: column `id`: found None, expected"),
        ("id,prompt\na,\n", "row 1 of .*: `prompt` is None, expected a string"),
        ("id,prompt\na,wet, dark\n", r"Expected 2 fields in line 2, saw 3; texts with ',' stand in quotes"),
        ("id,prompt,prompt\na,x,y\n", r"found several columns 'prompt', expected each name once"),
        ("id,prompt,steps\na,x,3\n", r"rows\.csv: column 'steps' is nearly `num_steps`: rename it"),
        ("ID,prompt\na,x\n", r"column 'ID' is nearly `id`"),
        ("number,prompt\n1,x\n", r"rows\.csv has no column `id`: found number, prompt"),
        ("id,prompt,views\na,x,\"front_wide,back\"\n", "row 1 of .*: `views`: found .*, expected names of front_wide"),
        ("id,prompt,input_video\na,x,http://h/a.mp4\n", "row 1 of .*scheme 'http'"),
        ("id,prompt,name\na,x,b\n", "row 1 of .* has both `id` and `name`, which mean the same"),
        ("id,prompt,input_videos.back\na,x,b.mp4\n", "camera name 'back': found no view in it"),
        ("id,prompt,rear,camera_rear_tele_30fov\na,x,a.mp4,b.mp4\n", "`camera_rear_tele_30fov` is the second for the"),
        ("id,prompt,rear,input_video\na,x,a.mp4,b.mp4\n", "has `input_video` and `input_videos` by camera, exp"),
        ("id,prompt,rear,front_wide\na,x,a.mp4,b.mp4\nb,x,,b.mp4\n", "row 2 .*: found inputs of front_wide; missing"),
        ("Cameras,,\nid,prompt,rear\na,x,b.mp4\n", "the names of the columns stand in line 2, expected"),
        ("# by hand\n\nid;prompt\na;x\n", "the names of the columns stand in line 3"),
        ("id,prompt\na,\"['x', nan]\"\n", r"`prompt` is \['x', None\], expected a string or a list of strings"),
        ("id,prompt\na,\"['x', array([1])]\"\n", "row 1 of .*: column `prompt`: .*, expected captions, not the"),
        ("", r"rows\.csv is empty"),
        ("id,prompt\n", r"rows\.csv has no rows"),
    ],
)  # fmt: skip
def test_what_a_row_cannot_mean_is_refused_by_its_place(
    csv: Callable[..., Built], out: Path, content: str, complaint: str
) -> None:
    with pytest.raises(ManifestError, match=complaint):
        csv(content)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("rows.xlsx", "save it as `CSV UTF-8`"),
        ("rows.csv.gz", "unpack it first"),
        ("rows.json", "`cosmos-ray manifest from-batch-json .*rows.json --out m.parquet` makes one"),
        ("rows.feather", r"`pandas.read_feather\(FILE\).to_parquet\(OUT\)` makes Parquet of it"),
        ("none.csv", "cannot be read: FileNotFoundError"),
        ("rows.parquet", "cannot be read as Parquet"),
    ],
)
def test_other_files_are_refused_with_the_way_out(tmp_path: Path, out: Path, name: str, complaint: str) -> None:
    if name != "none.csv":
        put(tmp_path / name)
    with pytest.raises(ManifestError, match=f"{name}.*{complaint}"):
        from_table(str(tmp_path / name), str(out))


# --- lists, cameras and files in cells ---


def test_texts_that_numpy_prints_side_by_side_are_two(csv: Callable[..., Built], out: Path) -> None:
    """As pandas writes a list out of Parquet into CSV; Python reads one text of it."""
    printed = str(np.array(["one", "it's two"], object))
    assert printed == """['one' "it's two"]"""
    csv(pd.DataFrame({"id": ["a"], "prompt": [printed], "n_views": [2]}).to_csv(index=False))
    assert read(out)[0]["prompt"] == ["one", "it's two"]


def test_half_a_character_is_refused_in_a_line(tmp_path: Path, out: Path) -> None:
    for name in ("prompt", "note"):
        row = {"id": "a", "prompt": "x", name: "\ud83d cut"}
        with pytest.raises(ManifestError, match=f"column `{name}` has a text that is no Unicode"):
            from_table(str(put(tmp_path / "rows.jsonl", json.dumps(row))), str(out))


@pytest.mark.parametrize("write", [json.dumps, str])
def test_lists_and_objects_may_be_texts(csv: Callable[..., Built], out: Path, write: Callable[[Any], str]) -> None:
    """As JSON, or as pandas and Python print them. A caption that begins with a bracket is a caption."""
    videos = {"rear": "r.mp4", "front_wide": "/f.mp4"}
    cells = [CAPTIONS[:2], videos, ["rear", "front_wide"]]
    line = ",".join('"{}"'.format(write(value).replace('"', '""')) for value in cells)
    csv(f'id,prompt,input_videos,views\na,{line}\nb,"[Night] a street",,"rear, front_wide"\n')
    first, second = clips(out)
    assert (first.prompts, first.views) == (tuple(CAPTIONS[:2]), ("rear", "front_wide"))
    assert first.inputs == (f"{out.parent}/r.mp4", "/f.mp4")
    assert (second.prompts, second.views) == (("[Night] a street",), ("rear", "front_wide"))


@pytest.mark.parametrize(
    ("header", "cameras"),
    [
        ("input_videos.front_wide,input_videos.rear", None),
        ("input_video.camera_front_wide_120fov,input_video.camera_rear_tele_30fov", None),
        ("camera_front_wide_120fov,rear", None),
        ("CAM_F,cam b", "cam_f=front_wide,CAM B=rear"),
        ("CAM_FRONT,CAM_BACK", "nuscenes"),
    ],
)
def test_a_column_may_be_a_camera(csv: Callable[..., Built], out: Path, header: str, cameras: str | None) -> None:
    views = "front_wide,rear" if cameras == "nuscenes" else None
    csv(f"id,prompt,{header}\na,x,f.mp4,b.mp4\n", rig=rig_of(cameras, views))
    (clip,) = clips(out)
    assert (clip.views, clip.inputs) == (("front_wide", "rear"), (f"{out.parent}/f.mp4", f"{out.parent}/b.mp4"))
    assert [name for name in pq.read_schema(out).names if "." in name or "cam" in name.lower()] == []


def test_columns_of_pictures_and_of_captions(csv: Callable[..., Built], out: Path) -> None:
    csv(
        "id,front_wide,input_frames.rear,prompt.rear\n"
        "a,f.jpg,b.png,behind\n"
        'b,"[""f1.jpg"", ""f2.jpg""]","[""b1.jpg"", ""b2.jpg""]",\n'.replace(",\n", ",ahead\n")
    )
    first, second = clips(out)
    assert first.frames == ((f"{out.parent}/f.jpg",), (f"{out.parent}/b.png",))
    assert (first.views, first.prompts) == (("front_wide", "rear"), ("", "behind"))
    assert second.frames[0] == (f"{out.parent}/f1.jpg", f"{out.parent}/f2.jpg")


def test_prompts_may_be_files(tmp_path: Path, csv: Callable[..., Built], out: Path) -> None:
    put(tmp_path / "texts" / "seven.txt", "\n".join(CAPTIONS))
    csv("name,prompt_path,input_path\na,texts/seven.txt,a.mp4\nb,t5/b.safetensors,b.mp4\n")
    first, second = read(out)
    assert (first["prompt"], first["prompt_embedding"]) == (CAPTIONS, None)
    assert (second["prompt"], second["prompt_embedding"]) == (None, "t5/b.safetensors")
    csv("id,prompt,prompt_embedding\na,nan,t5/a.pt\nb,a road,N/A\n", base="/data")
    first, second = read(out)
    assert (first["prompt"], first["prompt_embedding"]) == (None, "/data/t5/a.pt")
    assert (second["prompt"], second["prompt_embedding"]) == ("a road", None)


# --- JSONL and Parquet ---


def test_jsonl_keeps_what_it_says(tmp_path: Path, out: Path) -> None:
    rows = [
        {"id": "a", "prompt": CAPTIONS[:2], "n_views": 2, "tags": ["x", "y"], "code": "7",
         "input_videos": {"front": None, "camera_front_wide_120fov": "f.mp4", "cross_right": "r.mp4"}},
        {"id": 7, "prompt": "x", "seed": 4294967295, "fps": float("nan")},
    ]  # fmt: skip
    del rows[0]["input_videos"]["front"]  # type: ignore[attr-defined]
    source = put(tmp_path / "rows.jsonl", "\n\n".join(json.dumps(row) for row in rows) + "\n")
    built = from_table(str(source), str(out))
    first, second = clips(out)
    assert (first.prompts, first.inputs) == (tuple(CAPTIONS[:2]), (f"{tmp_path}/f.mp4", f"{tmp_path}/r.mp4"))
    assert (second.id, second.seed, second.fps) == ("7", 4294967295, 10)
    assert [(row["tags"], row["code"]) for row in read(out)] == [(["x", "y"], "7"), (None, None)]
    assert built.remarks == ("columns that are carried into the index as they are: tags, code",)
    for content, complaint in (
        ('{"id": "a"}\n{', r"line 2 of .*rows\.jsonl is no JSON"),
        ('{"id": "a", "prompt": "x"}\n\n[1]', r"line 3 of .*: found list, expected an object"),
        ('{"id": "a", "prompt": "x", "seed": true}', "line 1 of .*: `seed` is True, expected an integer"),
    ):
        with pytest.raises(ManifestError, match=complaint):
            from_table(str(put(source, content)), str(out))


def test_parquet_of_pandas_keeps_its_types(tmp_path: Path, out: Path) -> None:
    """Gaps are NaN there; what is carried stays as it was, to the type."""
    frame = pd.DataFrame(
        {
            "id": [1.0, 2.0],
            "prompt": ["x", "y"],
            "seed": [7, None],
            "guidance": [Decimal("2.5"), None],
            "when": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "count": pd.Series([1, 2], dtype="int16"),
        },
        index=pd.Index([10, 20]),
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    built = from_table(str(tmp_path / "rows.parquet"), str(out))
    assert [(clip.id, clip.seed, clip.guidance) for clip in clips(out)] == [("1", 7, 2.5), ("2", 0, 7.0)]
    before, after = pq.read_schema(tmp_path / "rows.parquet"), pq.read_schema(out)
    assert [after.field(name).type for name in ("when", "count")] == [before.field(n).type for n in ("when", "count")]
    assert built.warnings[0].startswith("columns without a name, which are left out: 1: '__index_level_0__' of ")


def test_a_table_of_every_camera_needs_no_views(csv: Callable[..., Built], out: Path) -> None:
    header = ",".join(f"input_videos.{view}" for view in reversed(VIEWS))
    csv(f"id,prompt,{header}\na,x,{','.join(f'{view}.mp4' for view in reversed(VIEWS))}\n")
    (clip,) = clips(out)
    assert clip.inputs == tuple(f"{out.parent}/{view}.mp4" for view in VIEWS)
    assert "views" not in pq.read_schema(out).names


def test_rows_that_say_how_many_cameras_they_have_miss_none(csv: Callable[..., Built], out: Path) -> None:
    csv("id,prompt,n_views,front_wide,cross_right\na,x,2,f.mp4,r.mp4\nb,x,1,f.mp4,\n")
    assert [clip.cameras for clip in clips(out)] == [VIEWS[:2], VIEWS[:1]]


def test_views_of_a_row_may_have_the_cameras_own_names(csv: Callable[..., Built], out: Path) -> None:
    """Those that `--cameras` tells of; the views' own names stay what they are."""
    cameras = "CAM_FRONT=front_wide,CAM_BACK=rear,cabin="
    table = 'id,prompt,views,CAM_FRONT,CAM_BACK\na,x,"CAM_BACK, front_wide",f.mp4,b.mp4\nb,x,"[""cam-front""]",f.mp4,\n'
    csv(table.encode(), rig=rig_of(cameras))
    assert [row["views"] for row in read(out)] == [["rear", "front_wide"], ["front_wide"]]
    assert rig_of(cameras, views="CAM_BACK,CAM_FRONT").asked == ("rear", "front_wide")
    for views in ("cabin", "CAM_SIDE", "CAM_BACK rear"):
        with pytest.raises(ManifestError, match=r"`views`: found .*, expected (names of|each view once)"):
            csv(f'id,prompt,views,CAM_FRONT\na,x,"{views}",f.mp4\n'.encode(), rig=rig_of(cameras))


@pytest.mark.parametrize("error", ["#NAME?", "#REF!", "#DIV/0!", "#WERT!"])
@pytest.mark.parametrize("column", ["id", "prompt", "seed", "input_video", "front_wide"])
def test_an_error_of_a_spreadsheet_is_no_value(csv: Callable[..., Built], column: str, error: str) -> None:
    row = {"id": "a", "prompt": "x"} | {column: error}
    with pytest.raises(ManifestError, match=r"row 1 of .*rows.csv: `\w+` is '#.*', an error of the spreadsheet"):
        csv(f"{','.join(row)}\n{','.join(row.values())}\n")


def test_a_thousand_is_not_taken_for_one(csv: Callable[..., Built], out: Path) -> None:
    """Where commas are decimal, dots part thousands."""
    for column, value in (("seed", "1.000"), ("guidance", "7.000"), ("seed", "1.234.567")):
        with pytest.raises(ManifestError, match=f"`{column}` is '{value}', expected an? "):
            csv(f"id;prompt;{column}\na;x;{value}\n")
    csv("id;prompt;seed;guidance\na;x;7,0;1.5\n")
    csv("id,prompt,guidance\na,x,7.000\n")
    assert read(out)[0]["guidance"] == 7.0


def test_blanks_round_a_cell_are_no_part_of_a_path(csv: Callable[..., Built], out: Path) -> None:
    csv("id,prompt,input_video\na,x, videos/a.mp4 \n")
    assert read(out)[0]["input_video"] == "videos/a.mp4"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("C:\\data\\a.mp4", "a path of Windows"),
        ("d:/data/a.mp4", "a path of Windows"),
        ("\\\\nas\\share\\a.mp4", "a path of Windows"),
        ("~/a.mp4", "a path with `~`"),
        ("s3:/bucket/a.mp4", "a URI without two slashes"),
    ],
)
def test_what_is_no_relative_path_is_not_taken_for_one(csv: Callable[..., Built], path: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=rf"row 1 of .*: '.*a.mp4' is {complaint}"):
        csv(f"id,prompt,input_video\na,x,{path}\n")


def test_a_file_uri_may_have_one_slash(csv: Callable[..., Built], out: Path) -> None:
    csv("id,prompt,input_video\na,x,file:/data/a%20b.mp4\n")
    assert read(out)[0]["input_video"] == "/data/a b.mp4"


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="pyarrow before 18 has no such type")
def test_ids_of_16_bytes_are_text_and_other_endings_of_parquet_are_known(tmp_path: Path, out: Path) -> None:
    """As pyarrow writes them, whoever called the file."""
    one = uuid.UUID(int=7)
    table = pa.table({name: pa.array([one.bytes], pa.uuid()) for name in ("id", "run")}).append_column(
        "prompt", pa.array(["p"])
    )
    pq.write_table(table, tmp_path / "rows.pq")
    from_table(str(tmp_path / "rows.pq"), str(out))
    assert read(out) == [{"id": str(one), "prompt": "p", "run": str(one)}]


def test_bytes_are_text_where_text_is_expected(tmp_path: Path, out: Path) -> None:
    """As older writers of Hive and Impala give it; those of other columns stay what they are."""
    table = {"id": [b"a"], "prompt": ["café".encode()], "input_video": [b"a.mp4"], "digest": [b"\xff\x00"]}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    from_table(str(tmp_path / "rows.parquet"), str(out))
    assert read(out)[0] == {"id": "a", "prompt": "café", "input_video": "a.mp4", "digest": b"\xff\x00"}
    pq.write_table(pa.table(table | {"prompt": [b"\xff"]}), tmp_path / "rows.parquet")
    with pytest.raises(ManifestError, match="column `prompt` has bytes that are no UTF-8 text"):
        from_table(str(tmp_path / "rows.parquet"), str(out))


@pytest.mark.parametrize(("column", "expected"), [("guidance", "a number"), ("seed", "64 bits")])
def test_numbers_that_no_computer_has_are_refused(tmp_path: Path, out: Path, column: str, expected: str) -> None:
    source = put(tmp_path / "rows.jsonl", json.dumps({"id": "a", "prompt": "x", column: 10**400}))
    with pytest.raises(ManifestError, match=rf"`{column}` is 1000.*{expected}"):
        from_table(str(source), str(out))


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 100_000])
def test_lines_that_python_cannot_read_are_refused(tmp_path: Path, out: Path, value: str) -> None:
    source = put(tmp_path / "rows.jsonl", '{"id": "a", "prompt": ' + value + "}")
    with pytest.raises(ManifestError, match="line 1 of"):
        from_table(str(source), str(out))
