"""Folders and tables that a stranger has made: what is in them is refused by name, and nothing else of the machine is
read into captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.manifests import put, read

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.inference_specs import Found, TransferSpec, read_specs, write_specs
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.manifest.builders.sources import list_folder
from cosmos_ray.manifest.builders.table import from_table
from cosmos_ray.store.storage import _asked

CAMERA = "ftheta_camera_front_wide_120fov"
TOKEN = "hf_AToken"


def of_camera(top: Path) -> Path:
    """A clip of one camera without a caption; where that would lie."""
    put(top / f"videos/{CAMERA}/a_0.mp4", "v" * 2000)
    return top / f"metas/{CAMERA}/a_0.txt"


def of_clip(top: Path) -> Path:
    put(top / "clip/front_wide.mp4", "v" * 2000)
    return top / "clip/caption.txt"


def of_batch(top: Path) -> Path:
    put(top / "b.json", json.dumps([{"input_video": "v.mp4", "prompt": "words.txt"}]))
    return top / "words.txt"


BUILDERS = {
    "rds-hq": (of_camera, lambda top, out: from_rds_hq(str(top), out)),
    "folder": (of_clip, lambda top, out: from_folder(str(top), out)),
    "batch": (of_batch, lambda top, out: from_batch_json(str(top / "b.json"), out)),
}


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_caption_is_no_link_to_a_file_of_another_kind(kind: str, tmp_path: Path) -> None:
    prepare, build = BUILDERS[kind]
    caption, out = prepare(tmp_path / "data"), str(tmp_path / "m.parquet")
    caption.parent.mkdir(parents=True, exist_ok=True)
    caption.symlink_to(put(tmp_path / "home/token", TOKEN))
    with pytest.raises(ManifestError, match=r"symbolic link to .*home/token: expected one to a file that is called"):
        build(tmp_path / "data", out)
    assert not Path(out).exists()
    caption.unlink()
    caption.symlink_to(put(tmp_path / "common/words.txt", "A street."))
    build(tmp_path / "data", out)
    assert [row["prompt"] for row in read(Path(out))] == ["A street."]


@pytest.mark.parametrize(("depth", "holds"), [(30, True), (40, False), (900, False)])
@pytest.mark.parametrize("ends", ["[]", '{"a":}'])
def test_what_no_parquet_file_holds_is_refused_and_what_is_written_can_be_read(
    depth: int, holds: bool, ends: str, tmp_path: Path
) -> None:
    first, last = ends[:-1], ends[-1]
    deep = f"{first * depth}1{last * depth}"
    put(tmp_path / "b.json", f'[{{"input_video": "v.mp4", "prompt": "A street.", "mine": {deep}}}]')
    if holds:
        from_batch_json(str(tmp_path / "b.json"), str(tmp_path / "m.parquet"))
        assert read(tmp_path / "m.parquet")[0]["mine"] == json.loads(deep)
        return
    with pytest.raises(ManifestError, match=rf"column `mine`: found lists and objects {depth} deep, expected at most"):
        from_batch_json(str(tmp_path / "b.json"), str(tmp_path / "m.parquet"))


def test_names_of_inputs_that_are_none_are_told_with_their_item(tmp_path: Path) -> None:
    for videos, complaint in (("[" * 900 + "]" * 900, "nests too deep"), ('["a\\u0000"]', "expected a URI")):
        put(tmp_path / "b.json", f'[{{"prompt": "A street.", "input_videos": {videos}}}]')
        with pytest.raises(ManifestError, match=rf"item 0 of .*{complaint}"):
            from_batch_json(str(tmp_path / "b.json"), str(tmp_path / "m.parquet"))


def test_no_folder_has_a_name_that_no_disk_takes(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="there is no folder"):
        list_folder(str(tmp_path / ("a" * 5000)))


SPEC = {"rear": {"input_path": "r.mp4", "control_path": "map.mp4"}}


def found_spec(folder: Path, prompt_path: str, overrides: dict[str, str] | None = None) -> Found:
    source = put(folder / "s.json", json.dumps({"name": "a", "prompt_path": prompt_path, **SPEC}))
    (found,) = read_specs([str(source)], TransferSpec, overrides or {})
    return found


def asked_only_for(folder: Path) -> Callable[..., Any]:
    """In the place of the function that asks stores."""

    def asked(uri: str, *rest: Any) -> Any:
        assert uri.startswith(str(folder)), f"{uri} was asked"
        return _asked(uri, *rest)

    return asked


THEIRS = "abfs://c@other.blob.core.windows.net/words.txt"


NAMING: dict[str, tuple[str, str, Callable[[str, str], Any]]] = {
    "batch": ("b.json", json.dumps([{"input_video": "v.mp4", "prompt": THEIRS}]), from_batch_json),
    "table": ("t.csv", f"id,input_video,prompt_path\na,v.mp4,{THEIRS}\n", from_table),
    "multiview": (
        "m.json",
        json.dumps({"prompt_path": THEIRS, "rear": {"video_path": "r.mp4"}}),
        lambda source, out: from_multiview_json([source], out),
    ),
    "spec": (
        "s.json",
        json.dumps({"name": "a", "prompt_path": THEIRS, **SPEC}),
        lambda source, out: write_specs(read_specs([source], TransferSpec, {}), out),
    ),
}


@pytest.mark.parametrize("kind", NAMING)
def test_no_account_of_a_stranger_is_asked_for_captions(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's credentials would go there."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    monkeypatch.setattr("cosmos_ray.store.storage._asked", asked_only_for(tmp_path))
    name, content, build = NAMING[kind]
    source = str(put(tmp_path / name, content))
    with pytest.raises(ManifestError, match="an account of the job's own: other is neither the environment's"):
        build(source, str(tmp_path / "m.parquet"))


@pytest.mark.parametrize("named", ["token", "../home/token", "{}/home/token", "s3://other/token"])
def test_a_specs_prompt_path_leads_to_no_file_of_secrets(named: str, tmp_path: Path) -> None:
    """What stands there would become a caption: a file of the spec's folder, or one that is called as texts are."""
    specs, token = tmp_path / "specs", put(tmp_path / "home/token", TOKEN)
    specs.mkdir()
    (specs / "token").symlink_to(token)
    out = str(tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"captions in a file called \.txt, or in one below .*/specs"):
        write_specs([found_spec(specs, named.format(tmp_path))], out)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("named", "told"), [("words", {}), ("../w/words.txt", {}), ("", {"prompt_path": "{}/w/plain"})]
)
def test_a_specs_own_texts_are_read_and_those_of_the_command_line(
    named: str, told: dict[str, str], tmp_path: Path
) -> None:
    specs = tmp_path / "specs"
    for name in ("specs/words", "w/words.txt", "w/plain"):
        put(tmp_path / name, "A street.")
    overrides = {name: value.format(tmp_path) for name, value in told.items()}
    write_specs([found_spec(specs, named or "none", overrides)], str(tmp_path / "m.parquet"))
    assert [row["prompt"] for row in read(tmp_path / "m.parquet")] == ["A street."]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [("ten", "`fps` is 'ten', expected an integer"), (0, "`fps`: found 0, expected an integer from 1 to 120")],
)
def test_no_picture_is_taken_by_a_rate_that_is_none(tmp_path: Path, said: object, complaint: str) -> None:
    """`null` is what the model has; anything else is refused, and by name."""
    clip, out = tmp_path / "clips" / "a", str(tmp_path / "out.parquet")
    put(clip / "caption.txt", "A street.")
    for number in range(8):
        put(clip / "front_wide" / f"{10**18 + number * 10**8}.jpg")
    put(clip / "params.json", {"fps": None})
    assert from_folder(str(clip.parent), out).rows == 1
    put(clip / "params.json", {"fps": said})
    with pytest.raises(ManifestError, match=complaint):
        from_folder(str(clip.parent), out)
