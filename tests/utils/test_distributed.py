"""One process alone needs no group; several need accelerate."""

from __future__ import annotations

import sys

import pytest
import torch

from bsoftmax.utils.distributed import Ranks


def test_without_a_launcher_there_is_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks, tensor = Ranks.current(), torch.ones(3)
    assert ranks == Ranks() == Ranks(0, 1, None)
    ranks.barrier()
    ranks.all_reduce_([tensor])
    ranks.broadcast_([tensor])
    assert torch.equal(tensor, torch.ones(3))
    assert not torch.distributed.is_initialized()


def test_without_accelerate_several_processes_are_told_what_to_install(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ValueError, match="pip install accelerate"):
        Ranks.current()


class Two:
    """What accelerate says to rank 1 of two that sum the same numbers."""

    process_index, num_processes, device = 1, 2, torch.device("cpu")
    waited = 0

    def wait_for_everyone(self):
        self.waited += 1

    def reduce(self, flat, reduction):
        assert (flat.dim(), reduction) == (1, "sum")
        return 2 * flat


def test_of_two_every_tensor_is_summed_in_place_whatever_its_shape():
    ranks = Ranks(1, 2, Two())
    tensors = [torch.ones(2, 3), torch.tensor(5.0), torch.arange(4.0).reshape(2, 2).T]
    kept = [tensor.clone() for tensor in tensors]
    ranks.all_reduce_(tensors)
    for tensor, old in zip(tensors, kept):
        assert torch.equal(tensor, 2 * old)
    weight = torch.nn.Parameter(torch.ones(3))
    ranks.all_reduce_([weight])
    assert torch.equal(weight, torch.full((3,), 2.0))
    assert weight.requires_grad
    ranks.all_reduce_([])
    ranks.barrier()
    assert ranks.accelerator.waited == 1
    assert ranks.device == torch.device("cpu")


def test_what_a_later_rank_had_is_not_in_what_is_broadcast():
    mine = torch.full((3,), 7.0)
    Ranks(1, 2, Two()).broadcast_([mine])
    assert torch.equal(mine, torch.zeros(3))  # nothing of it entered the sum
