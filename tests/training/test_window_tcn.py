from __future__ import annotations

import numpy as np
import pytest
import torch

from training.window_tcn import WindowTCN, compressed, standardised


def windows(n=50, *, amplitude_g=0.02, gravity_g=(0.0, 0.0, 1.0)):
    moved = amplitude_g * np.random.default_rng(0).normal(size=(2, 3, n))
    return torch.tensor(moved + np.array(gravity_g)[:, np.newaxis], dtype=torch.float64)


def test_standardised_is_less_the_mean_in_deviations_and_two_milligrams():
    seen = windows().numpy()
    expected = (seen - seen.mean(2, keepdims=True)) / (seen.std(2, keepdims=True, ddof=1) + 0.002)
    assert np.abs(standardised(windows()).numpy() - expected).max() < 1e-12


def test_compressed_is_less_the_mean_around_and_bent_above_ten_milligrams():
    seen = windows().numpy()
    padded = np.pad(seen, ((0, 0), (0, 0), (12, 12)), mode="edge")
    around = np.stack([padded[:, :, t : t + 25].mean(2) for t in range(seen.shape[2])], axis=2)
    expected = np.arcsinh((seen - around) / 0.01) / 3.0
    assert np.abs(compressed(windows()).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("form", [standardised, compressed])
def test_neither_form_of_detail_sees_where_gravity_points(form):
    assert torch.allclose(form(windows()), form(windows(gravity_g=(0.6, 0.0, 0.8))), atol=1e-9)
    # A watch on a table: what its sensor makes of it stays small.
    assert form(windows(amplitude_g=1e-5)).abs().max() < 0.1


@pytest.mark.parametrize("detail", ["standardised", "compressed", "both"])
def test_a_network_that_sees_detail_tells_still_hands_apart_by_it(detail):
    torch.manual_seed(0)
    still = windows(amplitude_g=0.002).float()
    still[1] = windows(amplitude_g=0.01).float()[1]

    def apart(network):
        with torch.inference_mode():
            one, other = network.eval()(still)
        return (one - other).abs().max().item()

    with_detail = apart(WindowTCN(classes=4, width=8, dropout=0.0, detail=detail))
    assert with_detail > 5.0 * apart(WindowTCN(classes=4, width=8, dropout=0.0))
