"""What the image brings for speed, and that its build says when something lacks. It cannot be built here."""

from __future__ import annotations

import re

from support.paths import ROOT

from cosmos_ray.job.doctor import MEASURED

DOCKERFILE = (ROOT / "cluster" / "Dockerfile").read_text()


def test_the_image_can_build_kernels_and_says_so_when_it_is_built() -> None:
    """It was not built here: what it installs, and that its build ends if something lacks."""
    installs = re.findall(r"apt-get install (.*?)\n +&&", DOCKERFILE, flags=re.DOTALL)[0].split()
    assert {"gcc", "libc6-dev", "python3.12-dev"} <= set(installs)
    user, _, after = DOCKERFILE.partition("USER 1000")
    assert "doctor" not in re.sub(r"^#.*", "", user, flags=re.MULTILINE), "root's cache would be closed to the user"
    assert "RUN cosmos-ray doctor" in after
    assert "missing_tools" in after
    torch, cuda = re.findall(r"whl/cu(\d+) torch==([\d.]+)", DOCKERFILE)[0][::-1]
    assert f"torch {torch}, CUDA {cuda[:2]}.{cuda[2:]} and fa3-fwd" in DOCKERFILE
    is_measured = (torch, f"{cuda[:2]}.{cuda[2:]}", "0.0.3") == MEASURED
    assert is_measured != ("has not been measured" in DOCKERFILE)
