"""What refining prompts adds to a job: questions, and what one takes of the local model. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosmos_ray.clip.refiner_rules import PUBLISHED, RefinerRules
from cosmos_ray.foreign import shown, shown_uri
from cosmos_ray.job.cost import ClipGroup, Estimate
from cosmos_ray.models.bundle.memory import REFINER_BYTES
from cosmos_ray.refine.asks import Refining
from cosmos_ray.words import byte_size, counted

#: Tokens of a caption of 100 words.
_TOKENS = 150
#: Of Cosmos-Reason1-7B, with a picture: on one H200 as measured (benchmarks/results/2026-11-28-words-and-guards.md); on
#: processors modelled: a token waits for 16.6 GB to be read at some 80 GB/s, and the pictures for some 20 TFLOP.
_GPU_S, _CPU_S = 3.9, 0.21 * _TOKENS + 40
#: Of one question on a gang's GPU while a clip is denoised there, which goes first; measured with it.
_BESIDE_S = 60.0


@dataclass(frozen=True)
class RefinerCost:
    """questions: at most, where nothing is known yet. seconds: of one, on the gang's GPU and on processors; None of an
    endpoint, whose they are. gpu_bytes: of a gang's first GPU, if it stays there."""

    model: str
    questions: int
    seconds: tuple[float, float] | None
    gpu_bytes: int

    def line(self) -> str:
        said = (
            f"refiner: at most {counted(self.questions, 'question')} to {self.model}, while the clips before are made"
        )
        if self.seconds is None:
            return said
        gpu_s, cpu_s = self.seconds
        if not self.gpu_bytes:
            return f"{said}: about {cpu_s:.0f} s each on processors (modelled)"
        return (
            f"{said}: about {gpu_s:.0f} s each on the gang's first GPU ({byte_size(self.gpu_bytes, 0)} of it), a "
            f"minute beside a clip there, which goes first, "
            f"{cpu_s:.0f} s on processors (modelled)"
        )


def refined_by_line(refining: Refining) -> str:
    """Who writes the words of a job's clips."""
    where = f" at {shown_uri(refining.rules.url)}" if refining.rules.url else ""
    return f"refiner: {shown(refining.model, 200)}{where}"


def outrun_line(groups: Sequence[ClipGroup], rules: RefinerRules, costs: Sequence[Estimate]) -> str | None:
    """The warning that gangs of these costs would wait for words of their own model; None where none would.

    A gang refines one clip while it makes another, and asks a question at a time.
    """
    clips, found = sum(one.clips for one in groups), refiner_cost(groups, rules)
    if found is None or found.seconds is None or not clips:
        return None
    a_clip = found.questions / clips
    words_s = a_clip * (found.seconds[1] if rules.device == "cpu" else _BESIDE_S)
    waiting = [f"{one.gang_size} ({one.clip_seconds:.0f} s)" for one in costs if one.clip_seconds < words_s]
    if not waiting:
        return None
    fewer = ", refiner.captions=one" if rules.captions == "each" else ""
    return (
        f"refiner: {a_clip:.3g} {'question' if a_clip == 1 else 'questions'} a clip take a gang's own model about "
        f"{words_s:.0f} s beside the clip before, which is made sooner in gangs of {', '.join(waiting)}: they wait for "
        "words, but for clips of the same ones. Ways out: refiner.backend=endpoint, `cosmos-ray manifest refine` "
        f"ahead{fewer}"
    )


def refiner_cost(groups: Sequence[ClipGroup], rules: RefinerRules) -> RefinerCost | None:
    """Of the clips that are left; None where nothing is refined. Samples of a row ask once."""
    if not rules.is_on:
        return None
    questions = sum(one.clips * (one.n_views if rules.captions == "each" else 1) for one in groups)
    if rules.backend == "endpoint":
        return RefinerCost(shown(rules.model or shown_uri(rules.url), 200), questions, None, 0)
    stays = 0 if rules.device == "cpu" else REFINER_BYTES
    return RefinerCost(shown_uri(rules.model or PUBLISHED), questions, (_GPU_S, _CPU_S), stays)
