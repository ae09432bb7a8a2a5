"""What one clip is, before anybody knows where it comes from and where it goes: numpy arrays and plain data.

`request.py` is what a generator takes, and names the views. `video.py` reads conditioning frames and writes mp4s with
ffmpeg. `approximations.py` is what may make a clip cheaper and changes it. Nothing here fetches, stores, or computes on
a GPU.

Begin with `request.py`.
"""
