"""Names and shapes of every weight, as the published files call them. No torch, no Ray.

Shapes are torch's: Linear [out, in], Conv3d [out, in, t, h, w].
"""

from __future__ import annotations

from collections.abc import Sequence

from cosmos_ray.models.bundle.dims import NetworkDims, Qwen2Dims, T5Dims, VaeDims

Shapes = dict[str, tuple[int, ...]]


def dit_shapes(network: NetworkDims) -> Shapes:
    """The multiview DiT's parameters, without the prefix `net.`."""
    width, rank, context = network.model_channels, network.adaln_lora_dim, network.crossattn_emb_channels
    head = width // network.num_heads
    patch = network.patch_spatial**2
    shapes: Shapes = {
        "x_embedder.proj.1.weight": (width, patch * network.token_channels),
        "t_embedder.1.linear_1.weight": (width, width),
        "t_embedder.1.linear_2.weight": (3 * width, width),
        "t_embedding_norm.weight": (width,),
        "final_layer.adaln_modulation.1.weight": (rank, width),
        "final_layer.adaln_modulation.2.weight": (2 * width, rank),
        "final_layer.linear.weight": (patch * network.out_channels, width),
    }
    if network.n_cameras_emb:
        shapes["view_embeddings.weight"] = (network.n_cameras_emb, network.view_condition_dim)
    if network.crossattn_proj_in_channels is not None:
        shapes["crossattn_proj.0.weight"] = (context, network.crossattn_proj_in_channels)
        shapes["crossattn_proj.0.bias"] = (context,)
    if network.num_control_blocks:
        channels = network.control_channels + 2 + network.view_condition_dim
        shapes["control_embedder.proj.1.weight"] = (width, patch * channels)
        biased = [f"input_hint_block.{2 * layer}" for layer in range(7)] + ["control_blocks.0.before_proj"]
        biased += [f"control_blocks.{index}.after_proj" for index in range(network.num_control_blocks)]
        for name in biased:
            shapes |= {f"{name}.weight": (width, width), f"{name}.bias": (width,)}
    blocks = [f"blocks.{index}" for index in range(network.num_blocks)]
    for block in blocks + [f"control_blocks.{index}" for index in range(network.num_control_blocks)]:
        for branch, source in (("self_attn", width), ("cross_attn", context)):
            shapes[f"{block}.{branch}.q_proj.weight"] = (width, width)
            shapes[f"{block}.{branch}.k_proj.weight"] = (width, source)
            shapes[f"{block}.{branch}.v_proj.weight"] = (width, source)
            shapes[f"{block}.{branch}.output_proj.weight"] = (width, width)
            shapes[f"{block}.{branch}.q_norm.weight"] = (head,)
            shapes[f"{block}.{branch}.k_norm.weight"] = (head,)
        shapes[f"{block}.mlp.layer1.weight"] = (4 * width, width)
        shapes[f"{block}.mlp.layer2.weight"] = (width, 4 * width)
        for branch in ("self_attn", "cross_attn", "mlp"):
            shapes[f"{block}.adaln_modulation_{branch}.1.weight"] = (rank, width)
            shapes[f"{block}.adaln_modulation_{branch}.2.weight"] = (3 * width, rank)
    return shapes


def vae_shapes(vae: VaeDims) -> Shapes:
    """The Wan 2.1 autoencoder's tensors."""
    widths = [vae.dim * factor for factor in vae.dim_mult]
    return {
        **_vae_ends("encoder", vae.dim, 3, widths[-1], widths[-1], 2 * vae.z_dim),
        **_vae_encoder(vae, widths),
        **_weights("conv1", 2 * vae.z_dim, 2 * vae.z_dim, 1, 1, 1),
        **_weights("conv2", vae.z_dim, vae.z_dim, 1, 1, 1),
        **_vae_ends("decoder", widths[-1], vae.z_dim, widths[-1], widths[0], 3),
        **_vae_decoder(vae, widths),
    }


def _vae_encoder(vae: VaeDims, widths: Sequence[int]) -> Shapes:
    """Its levels, from the pictures down."""
    shapes: Shapes = {}
    index, inputs = 0, vae.dim
    for level, outputs in enumerate(widths):
        for _ in range(vae.num_res_blocks):
            shapes |= _residual(f"encoder.downsamples.{index}", inputs, outputs)
            index, inputs = index + 1, outputs
        if level < len(widths) - 1:
            shapes |= _weights(f"encoder.downsamples.{index}.resample.1", outputs, outputs, 3, 3)
            if level > 0:  # the first level halves height and width only, the others time as well
                shapes |= _weights(f"encoder.downsamples.{index}.time_conv", outputs, outputs, 3, 1, 1)
            index += 1
    return shapes


def _vae_decoder(vae: VaeDims, widths: Sequence[int]) -> Shapes:
    """Its levels, from the latents up."""
    shapes: Shapes = {}
    index, inputs = 0, widths[-1]
    for level, outputs in enumerate(reversed(widths)):
        for _ in range(vae.num_res_blocks + 1):
            shapes |= _residual(f"decoder.upsamples.{index}", inputs, outputs)
            index, inputs = index + 1, outputs
        if level < len(widths) - 1:
            shapes |= _weights(f"decoder.upsamples.{index}.resample.1", outputs // 2, outputs, 3, 3)
            if level < len(widths) - 2:
                shapes |= _weights(f"decoder.upsamples.{index}.time_conv", 2 * outputs, outputs, 3, 1, 1)
            index, inputs = index + 1, outputs // 2
    return shapes


def _vae_ends(part: str, first: int, inputs: int, middle: int, last: int, outputs: int) -> Shapes:
    """What stands before and after the levels of one half."""
    return {
        **_weights(f"{part}.conv1", first, inputs, 3, 3, 3),
        **_residual(f"{part}.middle.0", middle, middle),
        f"{part}.middle.1.norm.gamma": (middle, 1, 1),
        **_weights(f"{part}.middle.1.to_qkv", 3 * middle, middle, 1, 1),
        **_weights(f"{part}.middle.1.proj", middle, middle, 1, 1),
        **_residual(f"{part}.middle.2", middle, middle),
        f"{part}.head.0.gamma": (last, 1, 1, 1),
        **_weights(f"{part}.head.2", outputs, last, 3, 3, 3),
    }


def _residual(name: str, inputs: int, outputs: int) -> Shapes:
    return {
        f"{name}.residual.0.gamma": (inputs, 1, 1, 1),
        **_weights(f"{name}.residual.2", outputs, inputs, 3, 3, 3),
        f"{name}.residual.3.gamma": (outputs, 1, 1, 1),
        **_weights(f"{name}.residual.6", outputs, outputs, 3, 3, 3),
        **({} if inputs == outputs else _weights(f"{name}.shortcut", outputs, inputs, 1, 1, 1)),
    }


def _weights(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


#: Relative distances that T5 tells apart; the same in every published T5.
T5_BUCKETS = 32


def t5_shapes(dims: T5Dims, width: int, gated: bool = False) -> Shapes:
    """A T5 encoder's parameters. gated: the two input matrices of T5 1.1's feed-forward layers."""
    inner = dims.num_heads * dims.d_kv
    shapes: Shapes = {"shared.weight": (dims.vocab_size, width), "encoder.final_layer_norm.weight": (width,)}
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (T5_BUCKETS, dims.num_heads)
    for index in range(dims.num_layers):
        block = f"encoder.block.{index}.layer"
        for part in "qkv":
            shapes[f"{block}.0.SelfAttention.{part}.weight"] = (inner, width)
        shapes[f"{block}.0.SelfAttention.o.weight"] = (width, inner)
        for part in ("wi_0", "wi_1") if gated else ("wi",):
            shapes[f"{block}.1.DenseReluDense.{part}.weight"] = (dims.d_ff, width)
        shapes[f"{block}.1.DenseReluDense.wo.weight"] = (width, dims.d_ff)
        for layer in (0, 1):
            shapes[f"{block}.{layer}.layer_norm.weight"] = (width,)
    return shapes


def qwen2_shapes(dims: Qwen2Dims) -> Shapes:
    """A Qwen2 text tower's parameters, as transformers' `Qwen2Model` names them."""
    width, head = dims.hidden_size, dims.hidden_size // dims.num_attention_heads
    shared = head * dims.num_key_value_heads
    shapes: Shapes = {"embed_tokens.weight": (dims.vocab_size, width), "norm.weight": (width,)}
    for index in range(dims.num_hidden_layers):
        layer = f"layers.{index}"
        for part, outputs in (("q", width), ("k", shared), ("v", shared)):
            shapes[f"{layer}.self_attn.{part}_proj.weight"] = (outputs, width)
            shapes[f"{layer}.self_attn.{part}_proj.bias"] = (outputs,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (width, width)
        for part in ("gate", "up"):
            shapes[f"{layer}.mlp.{part}_proj.weight"] = (dims.intermediate_size, width)
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, dims.intermediate_size)
        for part in ("input", "post_attention"):
            shapes[f"{layer}.{part}_layernorm.weight"] = (width,)
    return shapes
