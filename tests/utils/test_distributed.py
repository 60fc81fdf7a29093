"""One process alone needs no group; several need accelerate."""

from __future__ import annotations

import sys
from types import SimpleNamespace

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


def test_ranks_on_the_cpu_wait_without_naming_a_gpu(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda **devices: waited.append(devices))
    ranks, others = Ranks(1, 2, Two()), Ranks(1, 2, OnAnotherDevice())
    ranks.barrier()
    others.barrier()
    assert (waited, ranks.accelerator.waited, others.accelerator.waited) == ([{}], 0, 1)


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
    assert ranks.device == torch.device("cpu")


def test_what_a_later_rank_had_is_not_in_what_is_broadcast():
    mine = torch.full((3,), 7.0)
    Ranks(1, 2, Two()).broadcast_([mine])
    assert torch.equal(mine, torch.zeros(3))  # nothing of it entered the sum


class OnAnotherDevice(Two):
    """Sums where the gradients are; "meta" refuses to join tensors of two devices."""

    device = torch.device("meta")

    def reduce(self, flat, reduction):
        assert flat.device == self.device
        return torch.full(flat.shape, 3.0)


def test_a_flag_on_the_cpu_is_summed_with_gradients_on_a_gpu():
    gradient, flag = torch.empty(2, device="meta"), torch.zeros(1)
    Ranks(1, 2, OnAnotherDevice()).all_reduce_([gradient, flag])
    assert flag == 3
    assert gradient.is_meta


@pytest.mark.parametrize(("gpus", "here", "cpu"), [(0, "1", True), (1, "2", True), (2, "2", False), (8, "8", False)])
def test_more_processes_than_gpus_compute_on_the_cpu(monkeypatch, gpus, here, cpu):
    asked = {}
    made = SimpleNamespace(process_index=0, num_processes=4)
    monkeypatch.setitem(
        sys.modules, "accelerate", SimpleNamespace(Accelerator=lambda **options: asked.update(options) or made)
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    assert Ranks.current() == Ranks(0, 4, made)
    assert asked == {"cpu": cpu}
