"""A bundle's parts, each made of its files or drawn: the network, the video autoencoder, the text encoder.

The last two are libraries', which take longer to import than the network takes to read: they come beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.bundle.convert import load_dit_state, load_vae_state
from cosmos_ray.models.bundle.dims import Qwen2Dims, T5Dims
from cosmos_ray.models.bundle.files import local_path, source_key
from cosmos_ray.models.bundle.references import RandomWeights
from cosmos_ray.models.bundle.shapes import dit_shapes, vae_shapes
from cosmos_ray.models.bundle.weights import random_state_dict
from cosmos_ray.models.network.dit import NUMERICS_DTYPE, DiTConfig, MultiviewDiT
from cosmos_ray.models.timing import timed

if TYPE_CHECKING:
    from cosmos_ray.models.text.reason1 import Reason1Encoder
    from cosmos_ray.models.text.text import TextEncoder
    from cosmos_ray.models.vae.vae import WanVAE

#: What the network's checkpoint has for the text encoder: the layer that takes its raw text.
_OF_TEXT = "crossattn_proj."


def load_parts(
    bundle: Bundle,
    device: str,
    has_text_encoder: bool,
    seconds: dict[str, float],
    meanwhile: Callable[[MultiviewDiT], None] = lambda _: None,
) -> tuple[MultiviewDiT, WanVAE, TextEncoder | Reason1Encoder | None]:
    """The three of them on `device`; the text encoder where the bundle wants it, or None.

    seconds: where those of each part are put down; they overlap. meanwhile: is given the network as soon as it is
    there, while the others are still being read.
    """
    dtype = NUMERICS_DTYPE[bundle.numerics]
    text_device = "cpu" if bundle.text_encoder_device == "cpu" else device
    of_network: Future[dict[str, Tensor]] = Future()

    def others() -> tuple[WanVAE, TextEncoder | Reason1Encoder | None]:
        with _in_a_queue_of_its_own(torch.device(device)):
            with timed(seconds, "vae"):
                vae = load_vae(bundle).to(device, dtype)
            if not has_text_encoder:
                return vae, None
            with timed(seconds, "text encoder"):
                return vae, load_text_encoder(bundle, of_network.result).to(text_device)

    # One thread for both: they import from each other's libraries, and circles of those are no place for two to meet.
    with ThreadPoolExecutor(1, "loading") as beside:
        loading = beside.submit(others)
        try:
            with timed(seconds, "network"):
                network, found = load_network(bundle)
                network = network.to(device, dtype)
        except BaseException as error:
            of_network.set_exception(error)
            raise
        of_network.set_result(found)
        meanwhile(network)
        return network, *loading.result()


@contextmanager
def _in_a_queue_of_its_own(device: torch.device) -> Iterator[None]:
    """Copies to a GPU do not wait for what another thread has it compute; they are done at the end."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def load_network(bundle: Bundle) -> tuple[MultiviewDiT, dict[str, Tensor]]:
    """The network, and those tensors of its checkpoint that are the text encoder's."""
    config = DiTConfig(state_t=bundle.state_t, **bundle.network.model_dump(), **bundle.recipe.network)
    with torch.device("meta"):
        network = MultiviewDiT(config)
    source, shapes = bundle.file("dit"), dit_shapes(bundle.network)
    if isinstance(source, RandomWeights):
        state = random_state_dict(shapes, source.random_seed)
    else:
        try:
            stored = torch.bfloat16 if bundle.numerics == "reference" else None
            path = local_path(bundle, "dit")
            state = load_dit_state(path, source_key(bundle, "dit"), shapes, bundle.dit_prefix, stored)
        except (ValueError, UsageError) as error:
            raise UsageError(f"bundle `{bundle.name}`, files.dit: {error}") from error
    of_text = {name: state.pop(name) for name in list(state) if name.startswith(_OF_TEXT)}
    try:
        network.load(state)
    except UsageError as error:
        raise UsageError(f"bundle `{bundle.name}`, files.dit: {error}") from error
    return network.eval(), of_text


def load_vae(bundle: Bundle) -> WanVAE:
    """The video tokenizer, on the CPU."""
    from cosmos_ray.models.vae.vae import WanVAE

    source = bundle.file("vae")
    if isinstance(source, RandomWeights):
        return WanVAE.random(bundle.vae, source.random_seed)
    stored = torch.bfloat16 if bundle.numerics == "reference" else None
    path, shapes = local_path(bundle, "vae"), vae_shapes(bundle.vae)
    return WanVAE.from_published(
        load_vae_state(path, source_key(bundle, "vae"), shapes, stored), **bundle.vae.model_dump()
    )


def load_text_encoder(bundle: Bundle, of_network: Callable[[], Mapping[str, Tensor]]) -> TextEncoder | Reason1Encoder:
    """The family's. of_network: gives what `load_network` found for it."""
    from cosmos_ray.models.text.tokenizer import load_tokenizer

    reference, dims = bundle.file("text_encoder"), bundle.text_encoder
    dtype = getattr(torch, bundle.text_encoder_dtype)
    tokenizer = load_tokenizer(local_path(bundle, "tokenizer"))
    if bundle.recipe.text_encoder == "reason1":
        from cosmos_ray.models.text import reason1

        own = dims if isinstance(dims, Qwen2Dims) else None
        if isinstance(reference, RandomWeights):
            tower = reason1.random_tower(own, reference.random_seed).to(dtype)
        else:
            path, source = local_path(bundle, "text_encoder"), source_key(bundle, "text_encoder")
            tower = reason1.load_tower(path, own, bundle.network.crossattn_proj_in_channels, dtype, source)
        found = of_network()
        layer = [found[f"{_OF_TEXT}0.{part}"].to(NUMERICS_DTYPE[bundle.numerics]) for part in ("weight", "bias")]
        return reason1.Reason1Encoder(tokenizer, tower, *layer)
    from cosmos_ray.models.text import t5, text

    t5_dims = dims if isinstance(dims, T5Dims) else None
    if isinstance(reference, RandomWeights):
        if t5_dims is None:
            raise UsageError(f"bundle `{bundle.name}`: random text encoder without dimensions")
        encoder = t5.random_encoder(t5_dims, bundle.text_width, reference.random_seed).to(dtype)
    else:
        path, source = local_path(bundle, "text_encoder"), source_key(bundle, "text_encoder")
        encoder = t5.load_encoder(path, t5_dims, bundle.text_width, dtype, source)
    return text.TextEncoder(tokenizer, encoder)
