"""What every generator promises: one suite, run on the fake one and on the real network (`tiny`, random weights)."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.request import VIEWS, ClipRequest, ClipText
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models import fake as fake_module
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.fake import Alone, FakeGenerator, FakeState, parse_directives
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.load import load_generator
from cosmos_ray.models.noise import clip_noise

SHAPE = (5, 64, 112, 3)
NAMES = ("fake", "tiny")
OTHER = Approximations(solver="unipc", schedule="karras9", guidance_interval=(0.0, 0.5))


def request(n_views: int = 1, num_conditional_frames: int = 0, seed: int = 1, **changes) -> ClipRequest:
    frames = None
    if num_conditional_frames:
        shape = (n_views, num_conditional_frames, *SHAPE[1:])
        frames = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    plain = ClipRequest(
        id="clip",
        prompts=("A clear day on a city street. One car: one red ahead.",),
        negative_prompt="blurry",
        n_views=n_views,
        num_conditional_frames=num_conditional_frames,
        seed=seed,
        guidance=3.0,
        num_steps=2,
        frames=frames,
    )
    return replace(plain, **changes)


def short(name: str) -> Bundle:
    """A built-in bundle with clips of two latent frames: all the parts, little of the time."""
    return load_bundle(name).model_copy(update={"state_t": 2})


@pytest.fixture(scope="module", params=NAMES)
def generator(request: pytest.FixtureRequest):
    return load_generator(short(request.param))


@pytest.fixture(scope="module")
def tiny() -> Generator:
    return Generator.load(short("tiny"))


def same_frames(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[view], two[view]) for view in one)


# --- every generator -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_views", [1, 3, 7])
def test_frames_come_by_view_name_at_the_models_size(generator, n_views):
    frames = generator.generate(request(n_views, num_steps=1))
    assert tuple(frames) == VIEWS[:n_views]
    assert all(view.shape == SHAPE and view.dtype == np.uint8 for view in frames.values())
    assert len({view.tobytes() for view in frames.values()}) == n_views, "views differ"


@pytest.mark.parametrize("name", ["fake", pytest.param("tiny", marks=[pytest.mark.slow, pytest.mark.long])])
def test_a_whole_clip_has_29_frames_of_7_views(name):
    frames = load_generator(load_bundle(name)).generate(request(7, num_steps=1))
    assert [view.shape for view in frames.values()] == [(29, 64, 112, 3)] * 7


def test_a_seed_fixes_the_clip_and_another_changes_it(generator):
    clip = generator.generate(request(seed=1))
    assert same_frames(generator.generate(request(seed=1)), clip)
    assert not same_frames(generator.generate(request(seed=2)), clip)


@pytest.mark.parametrize("num_conditional_frames", [0, 1, 5])
def test_any_number_of_conditional_frames_that_the_model_knows_runs(generator, num_conditional_frames):
    frames = generator.generate(request(1, num_conditional_frames, num_steps=1))
    assert frames["front_wide"].shape == SHAPE


def test_noise_that_was_drawn_ahead_changes_nothing(generator):
    """As the gang's leader hands it on: read-only."""
    noise = clip_noise(1, generator.bundle, 1)
    noise.flags.writeable = False
    assert same_frames(generator.generate(request(noise=noise)), generator.generate(request()))


def test_the_attempt_never_decides_the_result(generator):
    assert same_frames(generator.generate(request(attempt=1)), generator.generate(request(attempt=2)))


def test_progress_is_told_after_each_step_and_the_final_pass(generator):
    told = []
    generator.denoise(generator.embed(request(num_steps=2)), on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_run_resumed_from_any_state_ends_the_same(generator):
    embedded = generator.embed(request(num_steps=3))
    states = []
    clip = generator.decode(generator.denoise(embedded, on_state=states.append))
    assert [state.step for state in states] == [0, 1, 2, 3]
    for state in states:
        told = []
        latents = generator.denoise(embedded, resume=state, on_step=lambda done, total, told=told: told.append(done))
        assert told[0] == state.step + 1
        assert same_frames(generator.decode(latents), clip)


def test_embedding_is_done_once_and_changes_nothing_else(generator):
    plain = request(3)
    embedded = generator.embed(plain)
    assert replace(embedded, text=None) == plain
    assert generator.embed(embedded) is embedded
    assert [len(view) > 0 for view in embedded.text.positive] == [True, False, False]
    assert [len(view) > 0 for view in embedded.text.negative] == [True, False, False]


def test_one_caption_a_view_captions_each_view(generator):
    embedded = generator.embed(request(3, prompts=("front view", "right view", "rear view"), negative_prompt=""))
    assert all(len(view) > 0 for view in embedded.text.positive)
    assert embedded.text.negative is None


def test_an_empty_caption_of_a_list_is_no_text(tiny):
    """Not even an end-of-text token: its view is one without text."""
    embedded = tiny.embed(request(3, prompts=("front view", "", " \n")))
    assert [view.shape[1] for view in embedded.text.positive] == [tiny.bundle.text_width] * 3
    assert [len(view) > 0 for view in embedded.text.positive] == [True, False, False]


def test_collected_latents_decode_as_the_share_does(generator):
    """A gang collects under its lock and decodes outside it."""
    latents = generator.denoise(generator.embed(request(3, num_steps=1)))
    collected = generator.collect(latents)
    assert tuple(collected) == VIEWS[:3]
    assert same_frames(generator.decode(collected), generator.decode(latents))


@pytest.mark.parametrize("name", NAMES)
def test_a_gang_size_that_does_not_fit_is_refused(name):
    with pytest.raises(UsageError, match="sizes that fit: 1, 2, 4, 8"):
        load_generator(load_bundle(name), parallel=Alone(rank=0, world_size=3))


# --- the real one ----------------------------------------------------------------------------------------------------


def test_latents_that_are_not_finite_are_a_fault_of_the_model(tiny):
    embedded = tiny.embed(request(guidance=1e300))
    with pytest.raises(RowError) as error:
        tiny.denoise(embedded)
    assert error.value.failure_class == "model"


def test_conditional_frames_come_back_and_others_change_with_them(tiny):
    """The first latent frame of a conditioned clip is the encoding of the frame given."""
    given = request(2, num_conditional_frames=1)
    collected = tiny.collect(tiny.denoise(given))
    frame = torch.from_numpy(given.frames[1]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    assert (collected["cross_right"][:, :1] - tiny.vae.encode(frame)[0]).abs().max() < 1e-5
    free = tiny.collect(tiny.denoise(request(2)))
    assert (collected["cross_right"][:, 1:] - free["cross_right"][:, 1:]).abs().max() > 1e-2


def test_text_guidance_and_negative_prompt_decide_the_clip(tiny):
    base = tiny.denoise(request())
    for change in ({"prompts": ("rain",)}, {"guidance": 1.0}, {"negative_prompt": "night"}, {"negative_prompt": ""}):
        assert (tiny.denoise(request(**change)) - base).abs().max() > 1e-3, change


def test_without_a_negative_prompt_guidance_acts_on_nothing(tiny):
    one, two = (tiny.denoise(request(negative_prompt="", guidance=guidance)) for guidance in (1.0, 7.0))
    assert torch.equal(one, two)


def test_embeddings_that_come_with_the_row_are_used_and_get_their_negative_prompt(tiny):
    text = tiny.embed(request(2)).text
    row = request(2, prompts=(), text=ClipText(positive=text.positive, negative=None))
    embedded = tiny.embed(row)
    assert embedded.text.positive is text.positive
    assert np.array_equal(embedded.text.negative[0], text.negative[0])
    assert torch.equal(tiny.denoise(row), tiny.denoise(request(2)))


def test_reference_numerics_compute_in_bfloat16(tiny):
    rounded = Generator.load(short("tiny"), numerics="reference")
    assert rounded.network.dtype == rounded.vae.dtype == torch.bfloat16
    assert rounded.bundle.fingerprint != tiny.bundle.fingerprint
    latents = rounded.denoise(request(num_steps=1))
    assert latents.dtype == torch.float32
    difference = (latents - tiny.denoise(request(num_steps=1))).abs().mean()
    assert 0 < difference < 0.2


def test_a_gang_without_text_embeddings_is_told_so_before_anything_is_exchanged(tiny):
    lonely = replace(tiny, parallel=Alone(rank=0, world_size=2))
    with pytest.raises(UsageError, match="rank 0 must embed it first"):
        lonely.denoise(request())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_views": 8}, "`n_views`: found 8, expected 1 to 7"),
        ({"num_conditional_frames": 2}, "expected one of 0, 1, 5"),
        ({"num_conditional_frames": 1, "frames": None}, "`input_video`: found 'no frames'"),
        ({"prompts": ("a", "b"), "n_views": 3}, "found '2 captions', expected 1, or one for each of 3 views"),
        (
            {"num_conditional_frames": 1, "frames": np.zeros((1, 1, 8, 8, 3), np.uint8)},
            r"uint8 frames \[1, 1, 8, 8, 3\]",
        ),
    ],
)
def test_a_request_that_does_not_fit_the_model_is_an_input_fault(tiny, change, message):
    with pytest.raises(RowError, match=message):
        tiny.denoise(request(**change))


# --- the fake one ----------------------------------------------------------------------------------------------------


def fake(rank: int = 0, world_size: int = 1, **options) -> FakeGenerator:
    return FakeGenerator(short("fake"), Alone(rank, world_size), **options)


def test_fake_frames_do_not_depend_on_the_gang():
    whole = fake().generate(request(7))
    parts = [fake(rank, 4).generate(request(7)) for rank in range(4)]
    assert list(parts[0]) == ["front_wide", "rear_left"]
    assert same_frames({view: next(p[view] for p in parts if view in p) for view in whole}, whole)


def test_fake_views_differ_and_seeds_do():
    """Also beside the block in a view's colour: cameras that were mixed up would look alike."""
    corners = [view[0, 0, 0, 0] for clip in (request(7), request(7, seed=8)) for view in fake().generate(clip).values()]
    assert len(set(corners)) > 8


def test_fake_frames_move():
    view = fake().generate(request())["front_wide"]
    assert all((view[t] != view[t + 1]).mean() > 0.5 for t in range(4))


@pytest.mark.parametrize("stage", ["embed", "denoise", "decode"])
def test_the_fake_fails_where_when_and_on_the_rank_it_is_told(stage):
    clip = request(prompts=(f"a road [fail=input rank=1 at={stage} attempt=2]",))
    for rank, attempt in ((0, 2), (1, 1), (1, 3)):
        fake(rank, 2).generate(replace(clip, n_views=2, attempt=attempt))
    with pytest.raises(RowError) as error:
        fake(1, 2).generate(replace(clip, n_views=2, attempt=2))
    assert error.value.failure_class == "input"


def test_faults_of_the_clip_meet_every_rank_and_faults_of_a_machine_one():
    for rank in (0, 1):
        for fault, failure_class in (("fail=timeout", "timeout"), ("nan", "model"), ("nan rank=0", "model")):
            with pytest.raises(RowError) as error:
                fake(rank, 2).denoise(request(prompts=(f"[{fault}]",)))
            assert error.value.failure_class == failure_class
    for fault in ("oom", "fail=oom"):
        with pytest.raises(MemoryError):
            fake(0, 2).denoise(request(prompts=(f"[{fault}]",)))
        fake(1, 2).denoise(request(prompts=(f"[{fault}]",)))


@pytest.mark.parametrize(("fault", "code"), [("die", -9), ("hang", None)])
def test_the_fake_really_dies_and_really_hangs(fault, code):
    """In a real process: killed by signal 9, or still there when we stop waiting."""
    script = (
        "from cosmos_ray.models.fake import FakeGenerator\n"
        "from cosmos_ray.models.bundle.bundle import load_bundle\n"
        "from cosmos_ray.clip.request import ClipRequest\n"
        f"clip = ClipRequest('x', ('[{fault}]',), '', 1, 0, 0, 1.0, 1)\n"
        "generator = FakeGenerator(load_bundle('fake'))\n"
        "print('ready', flush=True)\n"
        "generator.denoise(clip)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        assert process.wait(timeout=1 if code is None else 600) == code
    except subprocess.TimeoutExpired:
        assert code is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_fake_makes_noisy_frames_if_told():
    plain, noisy = (fake().generate(request(prompts=(text,)))["front_wide"] for text in ("a", "[grain]"))
    assert np.abs(np.diff(noisy.astype(int), axis=2)).mean() > 10 * np.abs(np.diff(plain.astype(int), axis=2)).mean()


def test_the_fake_takes_the_time_it_is_told(monkeypatch):
    slept = []
    monkeypatch.setattr(fake_module, "time", SimpleNamespace(sleep=slept.append))
    fake(step_seconds=0.05).denoise(request(num_steps=3))
    assert slept == [0.05] * 4
    slept.clear()
    fake(step_seconds=9).denoise(request(num_steps=2, prompts=("[seconds=0.3]",)))
    assert sum(slept) == pytest.approx(0.3)


def test_the_fake_fails_after_the_step_it_is_told_also_when_it_goes_on_from_there():
    states = []
    clip = request(num_steps=4, prompts=("[fail=model step=3 attempt=1]",))
    with pytest.raises(RowError):
        fake().denoise(clip, on_state=states.append)
    assert [state.step for state in states] == [0, 1, 2, 3]
    with pytest.raises(RowError):
        fake().denoise(clip, resume=states[-1])
    fake().denoise(replace(clip, attempt=2), resume=states[-1])
    with pytest.raises(RowError):  # also from further on: a gang that only ever goes on would never fail
        fake().denoise(clip, resume=FakeState(4))


@pytest.mark.parametrize(
    "text",
    ["[]", "[boom]", "[die now]", "[die rank=x]", "[die at=start]", "[fail]", "[fail=nothing]", "[die=1]",
     "[seconds=-1]", "[seconds=1 rank=0]", "[die at=embed step=1]", "[die rank=1 rank=2]", "[hang attempt=1.5]"],
)  # fmt: skip
def test_a_directive_that_is_none_is_refused(text):
    with pytest.raises(RowError, match="`prompt`: found"):
        parse_directives(f"a road {text}")


def test_text_without_brackets_is_no_directive():
    assert parse_directives("die, hang, fail=model").faults == ()


def test_a_model_that_takes_up_other_approximations_is_as_one_loaded_with_them(tiny: Generator) -> None:
    """And back: `compare` has one gang make the clips of all settings."""
    asked = tiny.embed(request(num_steps=2))
    other = tiny.sampled_by(tiny.bundle.solved_by(OTHER), OTHER)
    assert other.network is tiny.network, "nothing is loaded again"
    latents = other.denoise(asked)
    assert torch.equal(latents, Generator.load(short("tiny"), approximations=OTHER).denoise(asked))
    plain = tiny.denoise(asked)
    assert torch.equal(plain, other.sampled_by(short("tiny"), EXACT).denoise(asked))
    assert not torch.equal(plain, latents)
    with pytest.raises(UsageError, match="fp8_exact_blocks"):
        tiny.sampled_by(tiny.bundle, Approximations(attention="fp8", fp8_exact_blocks=(99,)))


def test_approximations_of_a_solver_that_the_bundle_is_not_solved_by_are_no_generator(tiny: Generator) -> None:
    """They would be kept, told, and not followed."""
    with pytest.raises(ValueError, match=r"not solved by .*unipc"):
        replace(tiny, approximations=OTHER)
    with pytest.raises(ValueError, match=r"not solved by .*published"):
        replace(tiny.sampled_by(tiny.bundle.solved_by(OTHER), OTHER), approximations=EXACT)
    assert replace(tiny, approximations=Approximations(guidance_interval=(0.0, 0.5))).network is tiny.network
