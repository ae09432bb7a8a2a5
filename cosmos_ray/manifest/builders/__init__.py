"""Builders: manifests made from what people already have. No torch, no Ray.

A module a source: `batch_json.py` and `multiview_json.py` (the specs of other Cosmos releases), `folder.py` (folders of
clips), `by_camera.py` (a folder a camera: RDS-HQ and our own export), `table.py` (CSV, JSONL, Parquet), `nuscenes.py`,
and `vary.py`, which makes many rows of each. What they share: `rig.py` (which cameras a row is made with), `sources.py`
(reading what is there), `pictures.py` (which pictures a clip starts from), `writing.py` (references, captions and the
manifest itself), `notes.py` (what is said about it).

All write one Parquet file, in the order found. Inputs that lie below the manifest's own folder are written as relative
references, so that the two can move together; the others as absolute ones. Captions are read now, inputs are only
named: whether they can be read is for `cosmos-ray plan` to say. Whatever is given is used, or a `ManifestError` that
names it, or a counted warning: never left out silently.

Begin with `batch_json.py`, the shortest; then `writing.py`.
"""
