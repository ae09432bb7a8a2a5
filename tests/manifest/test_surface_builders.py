"""Manifests out of what people have, from every command: rows, remarks, warnings and refusals, as they were."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import CAPTIONS, put, read
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.clip.request import VIEWS

Files = dict[str, Any]
#: Nanoseconds, as Argoverse names its pictures.
BEGAN = 315_966_265_649_927_216
SEVEN = {view: f"in/{view}.mp4" for view in VIEWS}
CSV = "id,prompt,seed,input_video,weather\na,a street,3,in/a.mp4,rain\nb,a bridge,,,\n"
RDS: Files = {
    **{f"d/videos/ftheta_camera_{name}/{clip}.mp4": "x" for name in ("front_wide_120fov", "rear_tele_30fov")
       for clip in ("a_0", "b_0")},
    "d/captions/ftheta_camera_front_wide_120fov/a_0.json": {"caption": "one"},
    "d/metas/ftheta_camera_front_wide_120fov/a_0.txt": "one\n",
    "d/metas/ftheta_camera_front_wide_120fov/b_0.txt": "two",
    "d/columns/a_0.json": {"columns": {"weather": "rain", "seed": 4}},
}  # fmt: skip
CLIP: Files = {"d/c/caption.txt": "a street", **{f"d/c/{view}.mp4": "x" for view in ("rear", "front_wide")}}
SPEC = {"name": "s", "prompt": "p", "inference_type": "video2world", "seed": 5, "guidance": 4,
        **{view: {"video_path": f"in/{view}.mp4"} for view in VIEWS}}  # fmt: skip

#: By name: what stands after `cosmos-ray manifest`, and the files that are there.
CASES: dict[str, tuple[str, Files]] = {
    "folder": ("from-folder d", CLIP),
    "folder of one view": ("from-folder d --cameras video", {"d/a.mp4": "x", "d/a.txt": "t", "d/b.png": "x",
    "d/b.txt": "u"}),
    "folder, whole and cameras": ("from-folder d", CLIP | {"d/c/video.mp4": "x", "d/c/notes.md": "n"}),
    "folder, pictures": (
        "from-folder d --fps 8 --frames 5",
        {"d/c/caption.txt": "\n".join(CAPTIONS[:2]),
         **{f"d/c/{view}/{n:04d}.jpg": "x" for view in ("rear", "front_wide") for n in range(6)}},
    ),
    "folder, loose pictures": (
        "from-folder d", {"d/c/caption.txt": "t", "d/c/rear_0001.jpg": "x", "d/c/rear_0002.jpg": "x", "d/c/x.txt": "n"}
    ),
    "folder, pictures by time": (
        "from-folder d --cameras argoverse2 --views front_wide,rear_left",
        {"d/c/caption.txt": "t",
         **{f"d/c/sensors/cameras/ring_rear_left/{BEGAN + n * 50_000_000}.jpg": "x" for n in range(12)},
         **{f"d/c/sensors/cameras/ring_front_center/{BEGAN + n * 50_000_000}.jpg": "x" for n in range(11)}},
    ),
    "folder, parameters": (
        "from-folder d", CLIP | {"d/c/params.json": {"seed": 9, "num_conditional_frames": 5, "fps": 12}}
    ),
    "folder, strange parameters": ("from-folder d", CLIP | {"d/c/params.json": {"sed": 9}}),
    "folder, flat cameras": (
        "from-folder d", {"d/a.front_wide.mp4": "x", "d/a.rear.mp4": "x", "d/a.txt": "t", "d/b.mp4": "x",
        "d/b.txt": "u"}
    ),
    "folder, named like a camera": ("from-folder d --prompt p", {"d/car_front.mp4": "x"}),
    "folder, text alone": ("from-folder d", {"d/c/caption.txt": "t", "d/empty/notes": "n"}),
    "folder without captions": ("from-folder d", {"d/c/rear.mp4": "x"}),
    "folder, captions beside": (
        "from-folder d --prompts p.json", {"d/c/rear.mp4": "x", "p.json": {"c": {"rear": "behind"}, "other": "u"}}
    ),
    "folder, captions twice": ("from-folder d --prompts p.json", CLIP | {"p.json": {"c": "x"}}),
    "folder, captions in a table": (
        "from-folder d --prompts p.csv", {"d/c/rear.mp4": "x", "p.csv": "id,prompt,more\nc,behind,1\nd,u,2\n"}
    ),
    "folder, views": ("from-folder d --views rear", CLIP), "folder, number": ("from-folder d --n-views 1", CLIP),
    "folder, too many views": ("from-folder d --n-views 3", CLIP),
    "folder, not alike": ("from-folder d", CLIP | {"d/e/caption.txt": "t", "d/e/rear.mp4": "x"}),
    "folder, unknown camera": ("from-folder d", CLIP | {"d/c/front_camera_2.mp4": "x"}),
    "folder, own cameras": ("from-folder d --cameras L=rear_left,R=,F=front_wide",
                            {"d/c/caption.txt": "t", "d/c/L.mp4": "x", "d/c/R.mp4": "x", "d/c/F.mp4": "x"}),
    "folder, two of a view": ("from-folder d --cameras A=rear,B=rear",
                              {"d/c/caption.txt": "t", "d/c/A.mp4": "x", "d/c/B.mp4": "x"}),
    "folder elsewhere": ("from-folder d --base s3://b/in", CLIP),
    "folder, nothing": ("from-folder d", {"d/notes": "x"}),
    "folder of one clip": ("from-folder d/c", CLIP),
    "waymo": ("from-folder d --cameras waymo --views rear_left,front_wide", {"d/c/caption.txt": "t",
    "d/c/FRONT.mp4": "x",
    "d/c/SIDE_LEFT.mp4": "x"}),
    "rds-hq": ("from-rds-hq d", RDS), "rds-hq as a folder": ("from-folder d --cameras rds-hq", RDS),
    "rds-hq, more": ("from-rds-hq d --fps 12 --frames 5 --prompt p", RDS | {
        "d/cosmos/x": "x", "d/metas/ftheta_camera_rear_tele_30fov/a_0.txt": "behind", "d/columns/z.json": {},
        "d/captions/ftheta_camera_front_wide_120fov/q.json": {"caption": "q"},
        "d/videos/ftheta_camera_rear_tele_30fov/n": "x",
        "d/metas/ftheta_camera_cross_left_120fov/a_0.txt": "left",
        "d/metas/ftheta_camera_front_wide_120fov/a_0.txt": "other",
    }),
    "rds-hq, no caption": ("from-rds-hq d", {k: v for k, v in RDS.items() if "b_0.txt" not in k}),
    "rds-hq, archives": ("from-rds-hq d", {"d/camera_front_wide_120fov/a.zip": "x"}),
    "rds-hq, bad caption": (
        "from-rds-hq d", RDS | {"d/captions/ftheta_camera_front_wide_120fov/a_0.json": {"text": "one"}}
    ),
    "csv": ("from-table t.csv", {"t.csv": CSV}),
    "csv with semicolons": ("from-table t.csv", {"t.csv": "id;prompt;guidance\na;one, two;3,5\nb;three;1.000\n"}),
    "csv, decimal commas": ("from-table t.csv", {"t.csv": "id;prompt;guidance;seed\na;one;3,5;1\n"}),
    "csv, cameras": ("from-table t.csv", {"t.csv": "id,prompt,input_videos.rear,front_wide\na,p,r.mp4,f.mp4\n"}),
    "csv, lists": ("from-table t.csv", {
        "t.csv": 'id,prompt,views\na,"[""x"", ""y""]","[""rear"", ""front_wide""]"\n'
        'b,"[\'x\' \'y\']","[\'rear\', \'front_wide\']"\n'
    }),
    "csv, prompt files": ("from-table t.csv", {"t.csv": "id,prompt\na,p.txt\nb,e.pt\n", "p.txt": "from a file\n"}),
    "csv, captions by camera": ("from-table t.csv", {"t.csv": "id,prompt.front_wide,prompt.rear,n_views\na,f,,1\n"}),
    "csv, numbers": ("from-table t.csv", {"t.csv": "id,prompt,seed,guidance\n1,p,3.0,2\n2,p,nan,-\n"}),
    "csv, no number": ("from-table t.csv", {"t.csv": "id,prompt,seed\na,p,x\n"}),
    "csv, half a number": ("from-table t.csv", {"t.csv": "id,prompt,seed\na,p,1.5\n"}),
    "csv, sheet's error": ("from-table t.csv", {"t.csv": "id,prompt\na,#REF!\n"}),
    "csv, nan prompt": ("from-table t.csv", {"t.csv": "id,prompt\na,nan\n"}),
    "csv, nearly": ("from-table t.csv", {"t.csv": "id,promt\na,p\n"}),
    "csv, video": ("from-table t.csv", {"t.csv": "id,prompt,video\na,p,v.mp4\n"}),
    "csv, one view": ("from-table t.csv --cameras video", {"t.csv": "id,prompt,video\na,p,v.mp4\n"}),
    "csv, two inputs": ("from-table t.csv", {"t.csv": "id,prompt,input_video,input_videos.rear\na,p,v.mp4,r.mp4\n"}),
    "csv, twice": ("from-table t.csv", {"t.csv": "id,prompt\na,p\na,q\n"}),
    "csv, no id": ("from-table t.csv", {"t.csv": "prompt\np\n"}),
    "csv, names": ("from-table t.csv", {"t.csv": "output_video,prompt\nout/v.mp4,p\n"}),
    "csv, empty": ("from-table t.csv", {"t.csv": "id,prompt\n"}),
    "csv, latin": ("from-table t.csv", {"t.csv": "id,prompt\na,stra\xdfe\n".encode("cp1252")}),
    "csv, told latin": ("from-table t.csv --encoding cp1252", {"t.csv": "id,prompt\na,stra\xdfe\n".encode("cp1252")}),
    "csv, elsewhere": ("from-table t.csv --base /data", {"t.csv": CSV}),
    "csv, climbing": ("from-table t/t.csv", {"t/t.csv": "id,prompt,input_video\na,p,../in/v.mp4\n"}),
    "jsonl": ("from-table t.jsonl", {"t.jsonl": "\n".join(map(json.dumps, [
        {"id": "a", "prompt": "p", "input_videos": SEVEN, "meta": {"x": 1}, "mixed": 1, "deep": []},
        {"id": "b", "prompt": ["p"] * 7, "input_videos": None, "meta": {"x": 2}, "mixed": "one", "deep": [{}]},
    ]))}),
    "jsonl, strange": ("from-table t.jsonl", {"t.jsonl": '{"id": "a", "prompt": "p", "seed": "3"}\n'}),
    "jsonl, no object": ("from-table t.jsonl", {"t.jsonl": "[1]\n"}),
    "batch": ("from-batch-json b.json", {"b.json": [
        {"input_video": "in/a.mp4", "prompt": "p", "output_video": "out/a.mp4", "extra": 1},
        {"input_video": "in/b.mp4", "prompt": "p.txt", "name": "named"}, {"input_path": "s3://b/c.mp4",
        "prompt_path": "e.pt"},
    ], "p.txt": "\n".join(CAPTIONS)}),
    "batch without video": ("from-batch-json b.json", {"b.json": [{"prompt": "p"}]}),
    "batch without prompt": ("from-batch-json b.json", {"b.json": [{"input_video": "a.mp4"}]}),
    "batch of neither": ("from-batch-json b.json", {"b.json": [{}]}),
    "batch of pictures": ("from-batch-json b.json --cameras video", {"b.json": [{"prompt": "p",
    "output_image": "o/x.png"}]}),
    "batch of a spec": ("from-batch-json b.json", {"b.json": [{"prompt": "p", "rear": {"video_path": "v.mp4"}}]}),
    "batch twice named": ("from-batch-json b.json", {"b.json": [{"prompt": "p", "input_video": "a",
    "input_path": "b"}]}),
    "batch, no list": ("from-batch-json b.json", {"b.json": {"prompt": "p"}}),
    "specs": ("from-multiview-json s.json t.json", {"s.json": SPEC, "t.json": [
        {"prompt_path": "p.txt", "num_input_frames": 2, "rear": {"input_path": "r.mp4", "colour": "red"}, "strange": 1},
        {"id": "u", "prompt": "q", "inference_type": "text2world", "rear": {"video_path": "r.mp4"}},
    ], "p.txt": "from a file"}),
    "specs, control": ("from-multiview-json s.json", {"s.json": {
        "prompt": "p", "num_conditional_frames": 0, "enable_autoregressive": True, "num_chunks": 4,
        "front_wide": {"control_path": "c.mp4"}, "rear": {"control_path": "d.mp4"}}}),
    "specs, half a control": ("from-multiview-json s.json", {"s.json": {
        "prompt": "p", "front_wide": {"video_path": "v.mp4", "control_path": "c.mp4"},
        "rear": {"video_path": "w.mp4"}}}),
    "specs, contradiction": ("from-multiview-json s.json", {"s.json": SPEC | {"num_input_frames": 1}}),
    "specs, both paths": ("from-multiview-json s.json", {"s.json": {
        "prompt": "p", "rear": {"video_path": "a.mp4", "input_path": "b.mp4"}}}),
    "specs, other key": ("from-multiview-json s.json", {"s.json": {"prompt": "p", "rear": {"path": "a.mp4"}}}),
    "specs, nearly": ("from-multiview-json s.json", {"s.json": {"promt": "p", "prompt": "q"}}),
    "specs, no prompt": ("from-multiview-json s.json", {"s.json": {"rear": {"video_path": "a.mp4"}}}),
    "specs, missing camera": ("from-multiview-json s.json --n-views 2", {"s.json": {
        "prompt": "p", "rear": {"video_path": "a.mp4"}}}),
    "vary": ("vary --in m.parquet --set 'hour=noon,late night' --template '{prompt}: {hour}' --seeds 0:2,7", {}),
    "vary by seeds": ("vary --in m.parquet --seeds 5", {}), "vary by nothing": ("vary --in m.parquet --seeds 5:5", {}),
    "vary, unused": ("vary --in m.parquet --set hour=noon", {}),
    "vary, too large": ("vary --in m.parquet --seeds 4294967296", {}),
    "vary, too many": ("vary --in m.parquet --seeds 0:1000001", {}),
    "vary, ours": ("vary --in m.parquet --set seed=1,2 --template '{prompt} {seed}'", {}),
    "vary, elsewhere": ("vary --in m.parquet --seeds 1 --base s3://b/in", {}),
}  # fmt: skip


@pytest.mark.parametrize("group", ["folder", "waymo", "rds-hq", "csv", "jsonl", "batch", "specs", "vary"])
def test_manifests_are_as_they_were(
    cosmos_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    lines = []
    for number, (name, (command, files)) in enumerate(CASES.items()):
        if name.replace(",", " ").split()[0] != group:
            continue
        home = tmp_path / str(number)
        home.mkdir()
        monkeypatch.chdir(home)
        rows = [{"id": "a", "prompt": "p", "input_video": "in/a.mp4", "x": 1}, {"id": "b", "prompt": "q", "x": 2}]
        pq.write_table(pa.Table.from_pylist(rows), "m.parquet")
        for path, content in files.items():
            put(home / path, content)
        answer = cosmos_ray("manifest", *shlex.split(command), "--out", "out.parquet")
        lines += [f"== {name}: {command}", *answer.out.splitlines(), *(f"! {line}" for line in answer.err.splitlines())]
        if Path("out.parquet").exists():
            table = pq.read_table("out.parquet")
            lines.append(f"  {', '.join(f'{field.name}: {field.type}' for field in table.schema)}")
            lines += [f"  { {key: value for key, value in row.items() if value is not None} }"
                      for row in read(Path("out.parquet"))]  # fmt: skip
        lines = [masked(line, home) for line in lines]
    assert_as_it_was(f"manifest/builders/{group}.txt", "\n".join(lines))
