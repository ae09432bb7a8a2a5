"""`cosmos-ray model`: the bundles that clips are made with."""

from __future__ import annotations

from typing import Annotated

import typer

from cosmos_ray.words import counted

app = typer.Typer(no_args_is_help=True, help="Check a model, or fetch its files.")

Bundle = Annotated[str, typer.Argument(metavar="NAME|URI")]


@app.command()
def check(model: Bundle) -> int:
    """Check a model's files, access, names, shapes, gang sizes and memory, without a GPU."""
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.check import check_bundle, text_encoder_parameters
    from cosmos_ray.models.bundle.memory import memory_plans

    bundle = load_bundle(model)
    views, frames = counted(bundle.n_views, "view"), counted(bundle.num_frames, "frame")
    print(f"{bundle.name}: {views} x {frames}, {bundle.width}x{bundle.height}")
    findings = check_bundle(bundle)
    for finding in findings:
        print(f"  {finding.level:12} {finding.subject}: {finding.message}")
    if bundle.generator == "cosmos":
        print("GPU memory (weights exactly, the rest as estimates):")
        for plan in memory_plans(bundle, text_encoder_parameters(bundle)):
            print(f"  {plan.line()}")
    return 0 if all(finding.level == "ok" for finding in findings) else 2


@app.command()
def fetch(model: Bundle) -> None:
    """Bring all of a model's files into this machine's caches, and verify them."""
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.files import fetch_bundle

    for kind, path in fetch_bundle(load_bundle(model)):
        print(f"{kind}: {path}", flush=True)
