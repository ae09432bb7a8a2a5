"""What one clip is, before anybody knows where it comes from and where it goes: numpy arrays and plain data.

`request.py` is what a generator takes, and names the views; `family.py` is all that differs between kinds of models;
`approximations.py` is what may make a clip cheaper and changes it; `checks.py` looks at what was made. The rest reads
inputs and writes videos, with ffmpeg (`ffmpeg.py`). A video's way in: `container.py` (what kind of file, is it whole),
`info.py` (what it says of itself), `packets.py` (when its frames are shown), `accept.py` (what is converted or
refused), `taken.py` (which frames, by `input_rules.py`), `frames.py` (just those decoded), `colour.py`, `resize.py`;
`conditioning.py` goes it for all cameras of a clip, `seams.py` doubts a single file, `pictures.py` takes pictures
instead. `encode.py` writes mp4, JPEG and PNG. Nothing here fetches, stores, or computes on a GPU.

Begin with `request.py`, then `conditioning.py`.
"""
