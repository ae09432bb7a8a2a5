"""What the published checks are by their numbers: how many boxes, which categories and classes, which arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.guardrail_weights import write_llama_guard, write_networks

from cosmos_ray.models.guardrails.boxes import best
from cosmos_ray.models.guardrails.content_filter import CLASSES, read_classifier
from cosmos_ray.models.guardrails.llama_guard import CATEGORIES, read_llama_guard


def apart(count: int) -> np.ndarray:
    return np.array([[40 * number, 0, 40 * number + 30, 30] for number in range(count)], np.float32)


def test_750_boxes_of_a_picture_are_kept() -> None:
    """The surest."""
    scores = np.linspace(0.71, 0.99, 760, dtype=np.float32)
    assert np.array_equal(best(apart(760), scores), apart(760)[:9:-1])


def test_the_5000_surest_boxes_are_compared() -> None:
    for same, kept in ((4999, 2), (5000, 1)):
        boxes = np.concatenate([np.repeat(apart(1), same, axis=0), apart(2)[1:]])
        scores = np.array([0.9] * same + [0.8], np.float32)
        assert len(best(boxes, scores)) == kept


def test_llama_guard_is_told_of_fourteen_categories_by_these_names() -> None:
    assert list(CATEGORIES) == [*(f"S{number}" for number in range(1, 14)), "s14"]
    assert list(CATEGORIES.values()) == [
        "Violent Crimes.", "Non-Violent Crimes.", "Sex Crimes.", "Child Exploitation.", "Defamation.",
        "Specialized Advice.", "Privacy.", "Intellectual Property.", "Indiscriminate Weapons.", "Hate.", "Self-Harm.",
        "Sexual Content.", "Elections.", "Code Interpreter Abuse.",
    ]  # fmt: skip


def test_llama_guard_computes_in_16_bits(tmp_path: Path) -> None:
    write_llama_guard(tmp_path)
    _, model = read_llama_guard(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_the_filter_has_seven_classes_in_the_order_of_its_answers() -> None:
    assert CLASSES == (
        "Safe", "Sexual_Content", "Violence", "Drugs", "Child_Abuse", "Hate_and_Harassment", "Self-Harm",
    )  # fmt: skip


def test_the_filters_layers_are_linear_normalised_by_what_it_was_trained_with_and_cut_at_zero(tmp_path: Path) -> None:
    """In numpy; weights of a training that has seen something, which fresh ones have not."""
    write_networks(tmp_path)
    path = tmp_path / "video_content_safety_filter" / "safety_filter.pt"
    stored = torch.load(path)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in stored["model"].items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "running_var" in name else -0.3))
    torch.save(stored, path)
    of = {name.removeprefix("network.layers."): tensor.numpy() for name, tensor in stored["model"].items()}
    x = np.random.RandomState(2).standard_normal((3, 16)).astype(np.float32)
    expected = x
    for linear, norm in ((0, 1), (3, 4)):
        y = expected @ of[f"{linear}.weight"].T + of[f"{linear}.bias"]
        y = (y - of[f"{norm}.running_mean"]) / np.sqrt(of[f"{norm}.running_var"] + 1e-5)
        expected = np.maximum(y * of[f"{norm}.weight"] + of[f"{norm}.bias"], 0)
    expected = expected @ of["6.weight"].T + of["6.bias"]
    with torch.no_grad():
        found = read_classifier(path)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
