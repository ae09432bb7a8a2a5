"""Train the tiny model on the sample drive: autoencoder, then network and text encoder. One GPU, under half an hour.

    python datasets/train_tiny.py --state STATE [--run-seconds 520]
    python datasets/tiny_export.py --carry STATE/carry --out cosmos_ray/models/bundle/built_in/tiny

Run the first command again until it says that all is done: each run goes on where the last one ended, and ends itself
after --run-seconds. The phases' budgets are wall-clock time over all runs. `tiny_state` says what is kept.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tiny_data import Clips, car_cells, decode_clips, encode_clips, make_clips, tokenise, training_scenes
from tiny_dit import PLAIN, initialise, train_dit, trainable
from tiny_export import export
from tiny_judge import train_judge
from tiny_look import quick_look
from tiny_optim import Average, Optimiser
from tiny_render import render_batches
from tiny_state import State
from tiny_vae import BATCHES, ViewSampler, normalise, round_weights, train_vae

from cosmos_ray import Generator
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.cache import file_sha256
from cosmos_ray.models.bundle.dims import NetworkDims, T5Dims, VaeDims
from cosmos_ray.models.bundle.files import local_path
from cosmos_ray.models.network.dit import DiTConfig, MultiviewDiT
from cosmos_ray.models.text.t5 import build_encoder
from cosmos_ray.models.text.tokenizer import load_tokenizer
from cosmos_ray.models.vae.vae import WanVAE

#: Seconds of a run that its end needs: last save, carry files, sheets.
ENDING_SECONDS = 30.0

logger = logging.getLogger("train_tiny")


class Training:
    """One run over what is left to do. arguments: see `parse`."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.device = arguments, arguments.device
        self.deadline = time.monotonic() + arguments.run_seconds - ENDING_SECONDS * (not arguments.smoke)
        self.bundle = smoke_bundle() if arguments.smoke else load_bundle("tiny")
        self.state = State(arguments.state)
        if arguments.carried:
            self.state.take(arguments.carried)
        self.progress = self.state.progress
        self.tokenizer = load_tokenizer(local_path(load_bundle("tiny"), "tokenizer"))
        self.vae = WanVAE.random(self.bundle.vae, seed=2)
        self.vae.to(self.device, torch.float32)

    def run(self) -> bool:
        """Whether everything is done."""
        if "vae" not in self.progress.done:
            self.train_vae()
        else:
            self.load_vae()
        if "vae" in self.progress.done and "dit" not in self.progress.done and self.left() > self.least():
            clips = self.clips()
            if "judge" not in self.progress.done:
                self.train_judge(clips)
            self.train_dit(clips)
        self.state.save_progress()
        if "dit" in self.progress.done:
            self.finish()
        return "dit" in self.progress.done

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def least(self) -> float:
        """Seconds below which making clips for the network would leave it nothing to train in."""
        kept = (self.state.folder / "clips.pt").exists()
        return 0.0 if self.arguments.smoke else 60.0 if kept else self.arguments.encode_seconds + 60.0

    def clock(self, phase: str, total: float) -> Callable[[], float]:
        """What a training asks before each step: its share of the phase's seconds; infinite when the run is over."""
        before, start, calls = self.progress.seconds[phase], time.monotonic(), 0

        def share() -> float:
            nonlocal calls
            calls += 1
            if calls % 8 == 0 and self.device.startswith("cuda"):
                torch.cuda.synchronize()  # or the clock would show when steps were asked for, not when they were done
            now = time.monotonic()
            self.progress.seconds[phase] = before + now - start
            if now > self.deadline and self.progress.seconds[phase] < total:
                return math.inf
            return self.progress.seconds[phase] / total

        return share

    def ended(self, phase: str, total: float) -> bool:
        return self.progress.seconds[phase] >= total

    # --- autoencoder ---

    def load_vae(self) -> None:
        carried = self.state.load_carry("vae")
        if carried is None:
            raise SystemExit(f"{self.state.carry}/vae.safetensors is missing")
        self.vae = WanVAE.from_published(carried, **self.bundle.vae.model_dump()).to(self.device, torch.float32)

    def train_vae(self) -> None:
        a, model = self.arguments, self.vae.model
        if (kept := self.state.load("vae", self.device)) is not None:
            model.load_state_dict(kept["model"])
        elif self.state.load_carry("vae") is not None:
            self.load_vae()
            model = self.vae.model
        frames, cars = self.views()
        optimiser = Optimiser(list(model.named_parameters()), a.vae_lr)
        if kept is not None:
            optimiser.load_state_dict(kept["optimiser"])

        def save(step: int) -> None:
            self.progress.steps["vae"] = step
            self.state.save("vae", {"model": model.state_dict(), "optimiser": optimiser.state_dict()})
            self.state.save_carry("vae", self.vae.published_state_dict())
            self.state.save_progress()

        batches = {9: 2} if a.smoke else BATCHES
        sampler = ViewSampler(frames, cars, seed=self.progress.steps["vae"])
        share = self.clock("vae", a.vae_seconds)
        step = train_vae(model, optimiser, sampler, share, self.progress.steps["vae"], save, a.compile, batches)
        model.eval().requires_grad_(False)
        if self.ended("vae", a.vae_seconds):
            some = torch.randperm(len(sampler.frames), generator=torch.Generator().manual_seed(0))[:128]
            video = sampler.frames[some.to(frames.device)].permute(0, 4, 1, 2, 3).float() / 127.5 - 1
            normalise(model, video)
            round_weights(model)
            self.progress.done.append("vae")
        save(step)

    def views(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rendered clips for the autoencoder and where their cars are."""
        b, a, start = self.bundle, self.arguments, time.monotonic()
        scenes = training_scenes(self.progress.clips, a.vae_clips)
        parts = []
        for part in render_batches(scenes, b.height, b.width, b.num_frames, 16, self.device, a.workers):
            parts.append(part)
            if time.monotonic() - start > a.encode_seconds:
                break
        frames = torch.cat(parts)
        scenes = scenes[: len(frames)]
        cars = [
            car_cells(scenes[at : at + 16], b.num_frames, b.height, b.width, self.device)
            for at in range(0, len(scenes), 16)
        ]
        self.progress.clips += len(frames)
        logger.info("%d clips for the autoencoder in %.1f s", len(frames), time.monotonic() - start)
        return frames, torch.cat(cars)

    # --- network and text encoder ---

    def clips(self) -> Clips:
        """Those of the last run, if this autoencoder made them, or new ones."""
        stamp = file_sha256(self.state.carry / "vae.safetensors")
        kept = self.state.load("clips", self.device)
        if kept is not None and kept.pop("stamp") == stamp:
            kept["tokens"] = kept["tokens"].cpu()
            return Clips(**kept)
        a, start = self.arguments, time.monotonic()
        clips = make_clips(
            self.bundle,
            self.vae,
            self.tokenizer,
            self.progress.clips,
            a.clips,
            min(start + a.encode_seconds, self.deadline),
            a.workers,
        )
        self.progress.clips += len(clips)
        self.state.save("clips", {"stamp": stamp, **clips.state()})
        mean, std = clips.latents.float().mean().item(), clips.latents.float().std().item()
        seconds = time.monotonic() - start
        logger.info("%d clips encoded in %.1f s; latents %.3f +- %.3f", len(clips), seconds, mean, std)
        return clips

    def train_judge(self, clips: Clips) -> None:
        def round_trip(latents_NVCTHW: torch.Tensor) -> torch.Tensor:
            return encode_clips(self.vae, decode_clips(self.vae, latents_NVCTHW))

        judge, found = train_judge(clips.latents, clips.labels, self.arguments.judge_seconds, round_trip)
        logger.info("judge on reconstructions: %s", json.dumps(found))
        self.state.save_carry("judge", judge.state_dict())
        self.progress.scores["judge"] = found
        self.progress.done.append("judge")
        self.state.save_progress()

    def train_dit(self, clips: Clips) -> None:
        a, dims = self.arguments, self.bundle.text_encoder
        assert isinstance(dims, T5Dims)
        torch.manual_seed(3 + self.progress.steps["dit"])
        network = MultiviewDiT(DiTConfig(state_t=self.bundle.state_t, **self.bundle.network.model_dump()))
        initialise(network)
        encoder = build_encoder(dims, self.bundle.text_width)
        network.to(self.device)
        encoder.to(self.device)
        named = trainable(network, encoder)
        optimiser = Optimiser(named, a.dit_lr, PLAIN)
        average = Average([parameter for _, parameter in named])
        names = [name for name, _ in named]
        self.restore_dit(names, optimiser, average)

        def save(step: int) -> None:
            self.progress.steps["dit"] = step
            pairs = list(zip(names, average.parameters, average.values, strict=True))
            self.state.save(
                "dit",
                {
                    "weights": {name: weight.detach() for name, weight, _ in pairs},
                    "average": {name: value for name, _, value in pairs},
                    "average_steps": average.steps,
                    "optimiser": optimiser.state_dict(),
                },
            )
            net, text = "net.", "text."
            self.state.save_carry("dit", {n.removeprefix(net): w for n, w, _ in pairs if n.startswith(net)})
            self.state.save_carry("dit_average", {n.removeprefix(net): v for n, _, v in pairs if n.startswith(net)})
            texts = {n.removeprefix(text): w for n, w, _ in pairs if n.startswith(text)}
            averages = {f"average.{n.removeprefix(text)}": v for n, _, v in pairs if n.startswith(text)}
            self.state.save_carry("text", texts | averages)
            self.state.save_progress()

        negative_M = tokenise(self.tokenizer, [self.bundle.sampling.negative_prompt])[0]
        step = train_dit(
            network,
            encoder,
            optimiser,
            average,
            clips,
            negative_M,
            self.clock("dit", a.dit_seconds),
            self.progress.steps["dit"],
            save,
            a.batch,
            self.bundle.model_fps,
            a.compile,
        )
        if self.ended("dit", a.dit_seconds):
            self.progress.done.append("dit")
        save(step)

    def restore_dit(self, names: list[str], optimiser: Optimiser, average: Average) -> None:
        kept = self.state.load("dit", self.device)
        weights = averages = None
        if kept is not None:
            weights, averages = kept["weights"], kept["average"]
            average.steps = kept["average_steps"]
            optimiser.load_state_dict(kept["optimiser"])
        elif (carried := self.state.load_carry("dit")) is not None:
            mean, text = self.state.load_carry("dit_average") or {}, self.state.load_carry("text") or {}
            weights = {f"net.{n}": t for n, t in carried.items()} | {f"text.{n}": t for n, t in text.items()}
            averages = {f"net.{n}": t for n, t in mean.items()}
            averages |= {f"text.{n.removeprefix('average.')}": t for n, t in text.items() if n.startswith("average.")}
            average.steps = self.progress.steps["dit"]
        if weights is None or averages is None:
            return
        with torch.no_grad():
            for name, parameter, value in zip(names, average.parameters, average.values, strict=True):
                parameter.copy_(weights[name])
                value.copy_(averages[name])

    # --- the end ---

    def finish(self) -> None:
        """Export into the state folder, and a first look at it."""
        made = self.state.folder / "bundle"
        export(self.state.carry, made, self.bundle)
        if self.arguments.look:
            generator = Generator.load(load_bundle(str(made)), self.device)
            self.progress.scores["look"] = quick_look(generator, self.state.folder / "sheets", self.arguments.look)
            self.state.save_progress()
            logger.info("first look: %s", json.dumps(self.progress.scores["look"]))


def smoke_bundle() -> Bundle:
    """The tiny model's parts at a size that a CPU trains in seconds."""
    tiny = load_bundle("tiny")
    network = NetworkDims(model_channels=24, num_blocks=1, num_heads=2, adaln_lora_dim=4, crossattn_emb_channels=16)
    return tiny.model_copy(
        update={
            "height": 32,
            "width": 48,
            "state_t": 3,
            "network": network,
            "vae": VaeDims(dim=4, num_res_blocks=1),
            "text_encoder": T5Dims(vocab_size=198, d_kv=8, d_ff=16, num_layers=1, num_heads=2),
            "sampling": tiny.sampling.model_copy(update={"num_steps": 2}),
        }
    )


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", required=True, type=Path, help="folder that the runs share")
    parser.add_argument("--carried", type=Path, help="another state's carry/ to start from, if STATE is new")
    parser.add_argument("--run-seconds", type=float, default=520.0, help="this run ends itself after that")
    parser.add_argument("--vae-seconds", type=float, default=500.0, help="of training, over all runs")
    parser.add_argument("--dit-seconds", type=float, default=650.0, help="of training, over all runs")
    parser.add_argument("--encode-seconds", type=float, default=100.0, help="at most, for clips in one run")
    parser.add_argument("--judge-seconds", type=float, default=20.0)
    parser.add_argument("--clips", type=int, default=16000, help="to train the network on")
    parser.add_argument("--vae-clips", type=int, default=1536)
    parser.add_argument("--batch", type=int, default=48, help="clips a step of the network")
    parser.add_argument("--vae-lr", type=float, default=3e-3)
    parser.add_argument("--dit-lr", type=float, default=2e-3)
    parser.add_argument("--look", type=int, default=8, help="held-out clips of the first look; 0 for none")
    parser.add_argument("--workers", type=int, default=0, help="processes that render without a GPU; 0: one a core")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile; parts that it fails on run without")
    parser.add_argument("--smoke", action="store_true", help="a model and budgets for a CPU and a minute")
    arguments = parser.parse_args(words)
    if arguments.smoke:
        small = {"vae_seconds": 2.0, "dit_seconds": 2.0, "judge_seconds": 1.0, "clips": 4, "vae_clips": 2}
        vars(arguments).update(small, batch=2, look=1, workers=1)
    return arguments


def main(words: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments = parse(words)
    if arguments.compile:
        torch._dynamo.config.suppress_errors = True  # where compilation fails, eager code goes on
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    training = Training(arguments)
    done = training.run()
    logger.info("%s: %s", "all done" if done else "run again to go on", json.dumps(training.progress.__dict__))


if __name__ == "__main__":
    main()
