"""New heads repeat the architecture of old ones with numbers of their own."""

from __future__ import annotations

import pytest
import torch
from toys import refusal

from bsoftmax.models.heads import clone_head, last_linear


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_clone_head_repeats_the_architecture_with_its_own_numbers(name):
    from toys import HEADS

    head = HEADS["gap" if name == "linear" else "mlp"]()[2].requires_grad_(False)
    before = {k: v.clone() for k, v in head.state_dict().items()}
    torch.manual_seed(0)
    fresh, clone = clone_head(head), clone_head(head, "clone")
    assert str(fresh) == str(head)
    assert all(p.requires_grad for branch in (fresh, clone) for p in branch.parameters())
    assert all(torch.equal(v, before[k]) for k, v in clone.state_dict().items())
    assert all((v == 0).all() for k, v in fresh.state_dict().items() if k.endswith("bias"))
    weights = torch.cat([v.flatten() for k, v in fresh.state_dict().items() if k.endswith("weight")])
    assert 0.005 < float(weights.std()) < 0.015
    with torch.no_grad():
        for p in [*fresh.parameters(), *clone.parameters()]:
            p += 1
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())
    assert "warm" in refusal(lambda: clone_head(head, "warm"))


def test_last_linear_is_the_one_that_makes_the_logits():
    from toys import HEADS

    mlp = HEADS["mlp"]()[2]
    assert last_linear(mlp) is mlp[6]
    assert "ReLU" in refusal(lambda: last_linear(torch.nn.ReLU()))
