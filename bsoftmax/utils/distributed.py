"""Several processes on one machine or more, started by torchrun or `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world`; `Ranks()` is a single process, for which every method is free."""

    rank: int = 0
    world: int = 1
    accelerator: Any = None

    @classmethod
    def current(cls) -> Ranks:
        """The processes that a launcher started; without a launcher a single one, with no process group.

        More processes on a machine than it has GPUs compute on the CPU: a GPU takes part in a sum only once.
        Raises ValueError when there are several and `accelerate` is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ValueError("Several processes need accelerate: python -m pip install accelerate.") from error
        here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        accelerator = Accelerator(cpu=torch.cuda.device_count() < here)
        return cls(accelerator.process_index, accelerator.num_processes, accelerator)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.accelerator.device if self.accelerator else torch.device("cpu")

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.accelerator and self.device.type == "cpu":
            torch.distributed.barrier()  # accelerate's names the GPU of the rank, where there are fewer than ranks
        elif self.accelerator:
            self.accelerator.wait_for_everyone()

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the ranks; all of one dtype, and every rank must call it."""
        if not self.accelerator or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).to(self.device) for tensor in tensors])
        flat = self.accelerator.reduce(flat, reduction="sum")
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.detach().copy_(part.view_as(tensor))

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by that of rank 0."""
        if self.rank:
            for tensor in tensors:
                tensor.detach().zero_()
        self.all_reduce_(tensors)
