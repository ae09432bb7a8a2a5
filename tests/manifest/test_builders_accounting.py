"""Builders: what is given is used, an error, or a warning; nothing is lost because nobody recognised it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.manifests import clips, put, read

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.table import from_table

PAIR = {"CAM_FRONT": "f.mp4", "CAM_BACK": "b.mp4"}
NAMES = "CAM_FRONT=front_wide,CAM_BACK=rear"
FRONT = {"video_path": "f.mp4"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "m.parquet"


def builder_of(path: Path) -> Callable[..., Any]:
    if path.name.startswith("spec"):
        return lambda source, out: from_multiview_json([source], out)
    return from_batch_json if path.name.startswith("batch") else from_table


# --- JSON ---


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("rows.jsonl", '{"id": "a", "prompt": "x", "seed": 1, "seed": 2}', "seed"),
        ("batch.json", '[{"input_video": "a.mp4", "prompt": "x", "prompt": "y"}]', "prompt"),
        ("spec.json", '{"prompt": "x", "rear": {"video_path": "a.mp4"}, "rear": {"video_path": "b.mp4"}}', "rear"),
        ("spec.yaml", "prompt: x\nrear: {video_path: a.mp4}\nseed: 1\nseed: 2\n", "seed"),
        ("specs.jsonl", '{"prompt": "x", "rear": {"video_path": "a.mp4", "video_path": "b.mp4"}}', "video_path"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, out: Path, name: str, content: str, key: str) -> None:
    source = put(tmp_path / name, content)
    with pytest.raises(ManifestError, match=f"{name}: (line 1: )?found the key '{key}' twice in one object"):
        builder_of(source)(str(source), str(out))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"rear": {"video": "b.mp4"}}, "`rear`: found a video under `video`, expected it under `video_path` or"),
        ({"rear": ["b.mp4"]}, r"`rear`: found \['b.mp4'\], expected one file"),
        ({"input_videos": {"rear": "b.mp4"}}, "has `input_videos`, .*from-batch-json` reads that"),
        ({"num_input_frames": True}, r"`num_input_frames` is True, expected one of \[0, 1, 2\]"),
        ({"seed": "7"}, "`seed` is '7', expected an integer"),
        ({"guidance": "high"}, "`guidance` is 'high', expected a number"),
    ],
)
def test_cameras_and_numbers_in_other_words_are_refused(
    tmp_path: Path, out: Path, spec: dict[str, Any], complaint: str
) -> None:
    source = put(tmp_path / "spec.json", {"prompt": "x", "front_wide": FRONT, **spec})
    with pytest.raises(ManifestError, match=f"spec.json.*{complaint}"):
        from_multiview_json([str(source)], str(out))


def test_a_camera_of_another_container_is_an_input_and_one_without_a_file_is_said(tmp_path: Path, out: Path) -> None:
    cameras = {"front_wide": "f.mkv", "rear_caption": "A lorry."}
    built = from_multiview_json([str(put(tmp_path / "spec.json", {"prompt": "x", **cameras}))], str(out))
    assert read(out)[0]["input_videos"] == {"front_wide": "f.mkv"}
    assert [words.partition(":")[0] for words in built.warnings] == ["keys of a spec that are not used"]
    nothing = {"prompt": "x", "rear": {"video_path": None}}
    built = from_multiview_json([str(put(tmp_path / "spec.json", nothing))], str(out))
    assert built.warnings == (f"cameras that name no file: 1: {tmp_path}/spec.json: `rear`",)


@pytest.mark.parametrize("column", ["input_videos", "control_videos"])
def test_a_batch_may_name_cameras_as_their_data_set_does(tmp_path: Path, out: Path, column: str) -> None:
    given = {"id": "a", "prompt": "x", column: PAIR, "input_videos": PAIR}
    from_batch_json(str(put(tmp_path / "batch.json", [given])), str(out), rig=rig_of(NAMES))
    (row,) = read(out)
    assert row["views"] == ["front_wide", "rear"]
    assert row[column] == {"front_wide": "f.mp4", "rear": "b.mp4"}


def test_a_batch_may_name_pictures_by_camera_too(tmp_path: Path, out: Path) -> None:
    """Then its views are those that there are pictures of."""
    pictures = {camera: [f"{path}.png"] for camera, path in PAIR.items()}
    item = {"id": "a", "prompt": "x", "input_frames": pictures}
    from_batch_json(str(put(tmp_path / "batch.json", [item])), str(out), rig=rig_of(NAMES))
    (row,) = read(out)
    assert row["views"] == ["front_wide", "rear"]
    assert row["input_frames"] == {"front_wide": ["f.mp4.png"], "rear": ["b.mp4.png"]}


@pytest.mark.parametrize("column", ["input_videos", "prompt"])
def test_two_cameras_of_one_view_are_refused(tmp_path: Path, out: Path, column: str) -> None:
    twice = {"front_wide": "f.mp4", "camera_front_wide_120fov": "g.mp4"}
    complaint = "two cameras for the view front_wide, `front_wide` and `camera_front_wide_120fov`"
    if column == "prompt":
        put(tmp_path / "clips" / "a" / "front_wide.mp4")
        captions = captions_of(prompts=str(put(tmp_path / "p.json", {"a": twice})))
        with pytest.raises(ManifestError, match=complaint):
            from_folder(str(tmp_path / "clips"), str(out), captions=captions)
        return
    for name, row in (("batch.json", [{"prompt": "x", column: twice}]), ("rows.jsonl", {"id": "a", column: twice})):
        source = put(tmp_path / name, row)
        with pytest.raises(ManifestError, match=complaint):
            builder_of(source)(str(source), str(out))


# --- tables ---


def test_control_videos_and_longer_clips_are_columns_too(tmp_path: Path, out: Path) -> None:
    header = "id,prompt,num_chunks,control_weight,control_videos.CAM_FRONT,control_videos.CAM_BACK"
    source = put(tmp_path / "rows.csv", f"{header}\na,x,2,0.5,f.mp4,b.mp4\nb,y,,,f.mp4,b.mp4\n")
    assert from_table(str(source), str(out), rig=rig_of(NAMES)).remarks == ()
    first, second = clips(out)
    assert (first.num_chunks, first.control_weight, first.cameras) == (2, 0.5, ("front_wide", "rear"))
    assert (second.num_chunks, second.control_weight) == (1, 1.0)
    assert first.controls == (f"{tmp_path}/f.mp4", f"{tmp_path}/b.mp4")
    both = put(tmp_path / "rows.csv", f'{header},control_videos\na,x,,,f.mp4,b.mp4,"[""c.mp4""]"\n')
    with pytest.raises(ManifestError, match="`control_videos` and control videos by camera, expected one of them"):
        from_table(str(both), str(out), rig=rig_of(NAMES))


def test_the_names_of_a_tables_folders_are_columns(tmp_path: Path, out: Path) -> None:
    """As of the manifest itself: three tables of three seeds would be three times one video."""
    frame = pd.DataFrame({"id": ["a", "b"], "prompt": ["x", "y"], "seed": [5, 7], "weather": ["rain", "fog"]})
    frame.to_parquet(tmp_path / "m", partition_cols=["seed", "weather"])
    for seed, weather in ((5, "rain"), (7, "fog")):
        (source,) = (tmp_path / "m" / f"seed={seed}" / f"weather={weather}").iterdir()
        from_table(str(source), str(out))
        (row,) = read(out)
        assert (row["seed"], row["weather"]) == (seed, weather)
    text = put(tmp_path / "seed=5" / "rows.csv", "id,prompt,seed\na,x,\nb,y,5\n")
    from_table(str(text), str(out))
    assert [row["seed"] for row in read(out)] == [5, 5]
    coded = put(tmp_path / "place=7" / "rows.csv", "id,prompt,place\na,x,07\nb,y,\n")
    from_table(str(coded), str(out))
    assert [row["place"] for row in read(out)] == ["07", "7"], "what a row says itself is not written again"
    put(text, "id,prompt,seed\na,x,5\nb,y,6\n")
    with pytest.raises(ManifestError, match=r"row 2 of .*: `seed` is '6', but its folder says seed=5"):
        from_table(str(text), str(out))


def test_columns_of_videos_that_nothing_takes_are_said(tmp_path: Path, out: Path) -> None:
    source = put(tmp_path / "rows.csv", "id,prompt,CAM_FRONT,cabin,note\na,x,f.mp4,c.mp4,n\n")
    assert from_table(str(source), str(out)).warnings == (
        "columns of videos or pictures that are only carried along: 2: `CAM_FRONT`; `cabin`",
    )
    told = from_table(str(source), str(out), rig=rig_of("CAM_FRONT=front_wide,cabin="))
    assert told.warnings == ("cameras that are not used: 1: column `cabin`",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("id,prompt\na,x\n".encode("utf-16-le"), "is no text; if it is UTF-16 without a mark"),
        (b'id,prompt\na,x\n"b","y\n', "rows.csv: "),
    ],
)
def test_odd_texts_are_refused_in_a_line(tmp_path: Path, out: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        from_table(str(put(tmp_path / "rows.csv", content)), str(out))


def test_lines_may_end_as_they_once_did_on_a_mac(tmp_path: Path, out: Path) -> None:
    assert from_table(str(put(tmp_path / "rows.csv", b"id,prompt\ra,x\rb,y\r")), str(out)).rows == 2


def test_an_empty_negative_prompt_is_none_at_all_where_a_table_can_say_so(tmp_path: Path, out: Path) -> None:
    """An empty cell of a CSV says nothing; in JSON, null does."""
    rows = '{"id": "a", "prompt": "x", "negative_prompt": ""}\n{"id": "b", "prompt": "x", "negative_prompt": null}\n'
    from_table(str(put(tmp_path / "rows.jsonl", rows)), str(out))
    assert [row["negative_prompt"] for row in read(out)] == ["", None]
    from_table(str(put(tmp_path / "rows.csv", "id,prompt,negative_prompt\na,x,\nb,x,rain\n")), str(out))
    assert [row["negative_prompt"] for row in read(out)] == [None, "rain"]


# --- folders ---


def test_a_folder_without_anything_is_no_clip(tmp_path: Path, out: Path) -> None:
    """With one caption for all, it would be a clip from text alone that nobody asked for."""
    put(tmp_path / "fleet" / "drive" / "front_wide.mp4")
    put(tmp_path / "fleet" / "logs" / "today.log")
    put(tmp_path / "fleet" / "told" / "notes.md")
    captions = captions_of("A street.", str(put(tmp_path / "p.json", {"told": "From text alone."})))
    built = from_folder(str(tmp_path / "fleet"), str(out), captions=captions)
    assert [row["id"] for row in read(out)] == ["drive", "told"]
    assert "folders without a video, a picture or a caption, which are no clips: 1: logs" in built.warnings


def test_files_of_cameras_are_not_taken_for_all_views(tmp_path: Path, out: Path) -> None:
    flat, captions = tmp_path / "flat", captions_of("A street.")
    put(flat / "drive_FRONT.mp4")
    assert from_folder(str(flat), str(out), captions=captions).rows == 1
    put(flat / "drive_rear_tele_30fov.mp4")
    with pytest.raises(ManifestError, match=r"drive_rear_tele_30fov.mp4 is named like the video of one camera"):
        from_folder(str(flat), str(out), captions=captions)
    put(flat / "drive_rear_tele_30fov.txt", "All seven, says its own caption.")
    assert from_folder(str(flat), str(out), captions=captions).rows == 2
    put(flat / "caption.txt", "A street.")
    with pytest.raises(ManifestError, match=r"flat holds a caption.txt, as one clip's folder does"):
        from_folder(str(flat), str(out), captions=captions)


def test_captions_and_parameters_are_found_as_windows_writes_them(tmp_path: Path, out: Path) -> None:
    """With `--prompt`, a caption that is not recognised would be another clip."""
    clip = tmp_path / "clips" / "a"
    put(clip / "rear.mp4")
    put(clip / "Caption.TXT", "A lorry, à droite.".encode("utf-16"))
    put(clip / "PARAMS.json", {"seed": 3})
    assert from_folder(str(tmp_path / "clips"), str(out), captions=captions_of("Any.")).warnings == ()
    assert [(one.prompts, one.seed) for one in clips(out)] == [(("A lorry, à droite.",), 3)]
    put(clip / "caption.txt", "one\ntwo")
    with pytest.raises(
        ManifestError, match=r"has .*(Caption.TXT and caption.txt|caption.txt and Caption.TXT), expected"
    ):
        from_folder(str(tmp_path / "clips"), str(out))
    (clip / "Caption.TXT").unlink()
    with pytest.raises(ManifestError, match=r"found 2 lines that are not empty, expected 1$"):
        from_folder(str(tmp_path / "clips"), str(out))
    with pytest.raises(ManifestError, match=r"rear.mp4 is a file, expected a folder"):
        from_folder(str(clip / "rear.mp4"), str(out))


def test_a_file_of_captions_is_read_whole_or_said(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "clips" / "7" / "front_wide.mp4")
    captions = captions_of(prompts=str(put(tmp_path / "p.jsonl", '{"id": 7, "prompt": "A street.", "seed": 3}')))
    built = from_folder(str(tmp_path / "clips"), str(out), captions=captions)
    assert [clip.prompts for clip in clips(out)] == [("A street.",)]
    assert [words.partition(str(tmp_path))[0] for words in built.warnings] == ["columns of "]
    assert "that are not read: 1: `seed`" in built.warnings[0]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("p.csv", "clip,caption\na,x\n", "found no column `id` and no column `prompt` beside `clip`, `caption`"),
        ("p.csv", "id,text\na,x\n", "found no column `prompt` beside `text`"),
        ("p.jsonl", '{"id": "a", "prompt": null}', "found rows without one of them"),
    ],
)
def test_what_a_file_of_captions_has_instead_is_told(tmp_path: Path, name: str, content: str, found: str) -> None:
    with pytest.raises(ManifestError, match=f"{name}: {found}, expected the columns `id` and `prompt`"):
        captions_of(prompts=str(put(tmp_path / name, content)))


@pytest.mark.parametrize(
    ("told", "surplus"),
    [
        ({"rear": "behind", "cross_left": "left"}, "cross_left"),
        ({"cross_left": "left"}, "cross_left"),
        (
            {"rear": "behind", "front_wide": "ahead", "front_tele": "far", "cross_left": "left"},
            "cross_left, front_tele",
        ),
    ],
    ids=["as many as views", "that alone", "more"],
)
def test_captions_of_cameras_that_are_not_made_are_refused(
    tmp_path: Path, out: Path, told: dict[str, str], surplus: str
) -> None:
    for view in ("front_wide", "rear"):
        put(tmp_path / "clips" / "a" / f"{view}.mp4")
    captions = captions_of(prompts=str(put(tmp_path / "p.json", {"a": told})))
    with pytest.raises(
        ManifestError, match=f"'a' of .*p.json: found a caption of {surplus}, expected front_wide, rear"
    ):
        from_folder(str(tmp_path / "clips"), str(out), captions=captions)


@pytest.mark.parametrize("video", ["a/front_wide.mp4", "a.mp4", "front_wide/a.mp4"])
def test_captions_and_manifest_may_lie_among_the_clips(tmp_path: Path, video: str) -> None:
    """They are used, however the folder is laid out."""
    clips_folder = tmp_path / "clips"
    put(clips_folder / video)
    put(clips_folder / "m.parquet", "an older one")
    captions = captions_of(prompts=str(put(clips_folder / "captions.csv", "id,prompt\na,A street.\n")))
    built = from_folder(str(clips_folder), str(clips_folder / "m.parquet"), captions=captions)
    assert (built.rows, built.warnings) == (1, ())


def test_captions_that_lie_beside_the_cameras_folders_are_said(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "up" / "videos" / "pinhole_front" / "c_0.mp4")
    put(tmp_path / "up" / "captions" / "c_0.json", {"caption": "A street."})
    built = from_rds_hq(str(tmp_path / "up"), str(out), captions=captions_of("Any."))
    assert built.warnings == (f"files and folders that no clip uses: 1: {tmp_path}/up/captions/c_0.json",)


def test_cameras_that_are_still_packed_are_named(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "pai" / "camera" / "camera_front_wide_120fov" / "chunk_0000.zip", b"PK\3\4")
    with pytest.raises(ManifestError, match=r"holds no clips: .*chunk_0000.zip is an archive: unpack it first"):
        from_rds_hq(str(tmp_path / "pai"), str(out))
