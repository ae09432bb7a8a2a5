"""The face detector's network: the published names, sizes read from weights, and anchors in its answers' order."""

from __future__ import annotations

import pytest
import torch

from cosmos_ray.models.guardrails.boxes import anchors
from cosmos_ray.models.guardrails.retinaface import Context, Pyramid, RetinaFace


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = {name: tuple(tensor.shape) for name, tensor in RetinaFace().state_dict().items()}
    assert len(state) == 456
    expected = {
        "body.conv1.weight": (64, 3, 7, 7),
        "body.layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "body.layer3.5.conv2.weight": (256, 256, 3, 3),
        "body.layer4.2.bn3.running_var": (2048,),
        "fpn.output1.0.weight": (256, 512, 1, 1),
        "fpn.merge2.1.bias": (256,),
        "ssh3.conv7x7_3.0.weight": (64, 64, 3, 3),
        "ClassHead.0.conv1x1.weight": (4, 256, 1, 1),
        "BboxHead.2.conv1x1.bias": (8,),
        "LandmarkHead.1.conv1x1.weight": (20, 256, 1, 1),
    }
    assert {name: state.get(name) for name in expected} == expected


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 70)])
def test_an_answer_an_anchor(height: int, width: int) -> None:
    net = RetinaFace(4, 16).eval()
    with torch.no_grad():
        offsets_BN4, faces_BN = net(torch.randn(2, 3, height, width))
    places = anchors(height, width)
    assert offsets_BN4.shape == (2, len(places), 4)
    assert faces_BN.shape == (2, len(places))
    assert bool(((faces_BN >= 0) & (faces_BN <= 1)).all())


def test_it_is_sure_of_the_second_of_two_classes() -> None:
    net = RetinaFace(4, 16).eval()
    with torch.no_grad():
        for head in net.ClassHead:
            head.conv1x1.weight.zero_()  # type: ignore[union-attr, operator]
            head.conv1x1.bias.copy_(torch.tensor([0.0, 9, 0, 9]))  # type: ignore[union-attr, operator]
        assert net(torch.zeros(1, 3, 64, 64))[1].min() > 0.99


@pytest.mark.parametrize(("width", "below_zero"), [(32, -0.1), (64, -0.1), (128, 0.0), (256, 0.0)])
def test_narrow_pyramids_leak(width: int, below_zero: float) -> None:
    """Up to 64 channels, as published: the detector that is loaded has 256, and does not."""
    assert Pyramid(4, width)._lit(torch.tensor(-1.0)).item() == pytest.approx(below_zero)
    assert Context(width).leak == pytest.approx(-below_zero)


def test_its_size_is_that_of_its_weights() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in RetinaFace(4, 16).state_dict().items()}
    found = RetinaFace.sized_as(shapes).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == shapes
    with pytest.raises(ValueError, match="no weights of RetinaFace"):
        RetinaFace.sized_as({"conv.weight": (1,)})
