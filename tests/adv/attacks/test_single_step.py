"""Single-step attacks, by hand."""

from __future__ import annotations

import pytest
import torch
from attack_cases import LINF, LinearModel, random_batch
from reproducibility import seeded_generator

from adv import FGSM, FGSMRS, NFGSM


@pytest.mark.parametrize("seed", [0, 1])
def test_one_step_with_a_random_start_by_hand(seed):
    """FGSM-RS goes back into its ball (Wong et al. 2020), N-FGSM does not (de Jorge 2022)."""
    model, (x, y) = LinearModel(), random_batch()
    up = torch.where(y == 0, -1.0, 1.0).reshape(-1, 1, 1, 1) * model.w.detach().sign()
    noise = 2 * torch.rand(x.shape, generator=seeded_generator(seed)) - 1
    eps = LINF.eps
    change = ((x + eps * noise).clamp(0, 1) + 1.25 * eps * up - x).clamp(-eps, eps)
    adv = FGSMRS(LINF)(model, x, y, generator=seeded_generator(seed))
    assert torch.allclose(adv, (x + change).clamp(0, 1), atol=1e-6)
    wide = ((x + 2 * eps * noise).clamp(0, 1) + eps * up).clamp(0, 1)
    adv = NFGSM(LINF)(model, x, y, generator=seeded_generator(seed))
    assert torch.allclose(adv, wide, atol=1e-6)
    assert eps < LINF.distance(adv, x).max() <= 3 * eps + 1e-6
    assert torch.allclose(
        NFGSM(LINF, noise=0.0)(model, x, y),
        FGSM(LINF)(model, x, y, generator=seeded_generator(3)),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NFGSM(LINF, noise=-1), "noise is 0 or more, relative to eps, got -1"),
        (lambda: NFGSM(LINF, pace=0), "finite length above 0, got 0"),
        (
            lambda: NFGSM(LINF, loss="mse"),  # type: ignore[arg-type]  # no such loss
            "a loss is one of .*, got 'mse'",
        ),
    ],
)
def test_settings_of_one_step(make, said):
    with pytest.raises(ValueError, match=said):
        make()
