"""The paper's TRN: the published backbone's shapes and names, and tuples of frames that stay put at test."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from training.teachers.bninception import BNInception, WeightsError, load_imagenet
from training.teachers.trn import TRN, Relations, fixed


def test_the_backbone_is_the_published_one() -> None:
    backbone = BNInception().eval()
    state = backbone.state_dict()
    assert sum(p.numel() for p in backbone.parameters()) == 10_270_240
    for name, shape in (
        ("conv1_7x7_s2.weight", (64, 3, 7, 7)),
        ("inception_3a_pool_proj.weight", (32, 192, 1, 1)),
        ("inception_3c_double_3x3_2.weight", (96, 96, 3, 3)),
        ("inception_4c_1x1_bn.running_var", (160,)),
        ("inception_4e_3x3.weight", (192, 128, 3, 3)),
        ("inception_5b_double_3x3_reduce.weight", (192, 1024, 1, 1)),
    ):
        assert tuple(state[name].shape) == shape, name
    with torch.inference_mode():
        assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, 1024)


def test_published_weights_are_taken_whole_or_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = BNInception().state_dict() | {"last_linear.weight": torch.zeros(1000, 1024)}
    published = {name: v for name, v in published.items() if not name.endswith("num_batches_tracked")}
    # As the older editions have it.
    published["conv1_7x7_s2_bn.weight"] = published["conv1_7x7_s2_bn.weight"].reshape(1, -1)
    path = tmp_path / "bn_inception.pth"
    torch.save(published, path)
    torch.manual_seed(2)
    backbone = BNInception()
    load_imagenet(backbone, path)
    assert torch.equal(backbone.state_dict()["inception_4a_1x1.weight"], published["inception_4a_1x1.weight"])
    del published["inception_4a_1x1.weight"]
    torch.save(published, path)
    with pytest.raises(WeightsError, match=r"1 are missing \(\['inception_4a_1x1.weight'\]\)"):
        load_imagenet(backbone, path)
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read as BN-Inception's"):
        load_imagenet(backbone, path)


def test_imagenets_norms_stay_but_the_first() -> None:
    teacher = TRN(segments=2, classes=3, dropout=0.0, pretrained=True).train()
    training = {n for n, m in teacher.backbone.named_modules() if n.endswith("_bn") and m.training}
    assert training == {"conv1_7x7_s2_bn"}


def test_answers_are_the_same_whenever_they_are_asked_for() -> None:
    torch.manual_seed(3)
    teacher = TRN(segments=8, classes=5, dropout=0.5).eval()
    clip = torch.randn(2 * 8, 3, 32, 32)
    with torch.inference_mode():
        logits, features, maps = teacher(clip)
        torch.manual_seed(4)
        again, _, _ = teacher(clip)
    assert logits.shape == (2, 5)
    assert features.shape == (2, 300)
    assert torch.equal(logits, again)
    assert maps.shape == (2, 1, 1, 1)


def test_the_order_of_frames_counts() -> None:
    torch.manual_seed(3)
    relations = Relations(frames=8, features=10, classes=5).eval()
    x = torch.randn(1, 8, 10)
    assert not torch.allclose(relations(x), relations(x.flip(1)))


def test_there_are_scales_8_to_2_with_three_fixed_tuples_at_most() -> None:
    relations = Relations(frames=8, features=10, classes=5)
    assert [len(tuples[0]) for tuples in relations.tuples] == [8, 7, 6, 5, 4, 3, 2]
    assert [len(fixed(tuples)) for tuples in relations.tuples] == [1, 3, 3, 3, 3, 3, 3]
    for tuples in relations.tuples:
        assert all(a < b for one in tuples for a, b in itertools.pairwise(one))


def test_the_tap_is_the_mean_of_the_frames_features() -> None:
    torch.manual_seed(3)
    teacher = TRN(segments=4, classes=5, dropout=0.0).eval()
    clip = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        _, features, _ = teacher(clip)
        frames = teacher.tap(teacher.backbone(clip))
    torch.testing.assert_close(features[0], frames.mean(0))
