"""A unit of weights as one flat vector, of which each rank owns a run: what ZeRO gathers, frees, reduces and steps.

The module's parameters are views of the flat vector, so that filling it fills them. Freeing it empties its storage and
leaves shapes and views; what autograd has kept of them is full again once the storage is.

Source: Rajbhandari et al. 2020, ZeRO, section 5; the flat vector as in Zhao et al. 2023, PyTorch FSDP, section 3.2; its
storage is emptied as in torch/distributed/fsdp/_flat_param.py.
Letters: R ranks, N numbers of a unit, padded to a multiple of R.
"""

import torch
from torch import Tensor, nn

from kb.distributed.collectives import Collectives


class FlatUnit:
    """The parameters of a module, and this rank's run of them.

    Args:
        module: All of its parameters get gradients, and have one dtype.
        comm: Of the ranks.
        sharded: Whether this rank steps its run alone; else it steps all, as every rank does.
        master_dtype: Of the weights that are stepped.

    Raises:
        ValueError: the module has no parameters, or they are not of one dtype, or one is frozen.
    """

    def __init__(self, module: nn.Module, comm: Collectives, sharded: bool, master_dtype: torch.dtype) -> None:
        self.parameters = list(module.parameters())
        dtypes = {parameter.dtype for parameter in self.parameters}
        if len(dtypes) != 1 or not all(parameter.requires_grad for parameter in self.parameters):
            raise ValueError(
                f"a unit must have trainable parameters of one dtype, got {len(self.parameters)}: {dtypes}"
            )
        self.comm, self.sharded = comm, sharded
        self.numel = sum(parameter.numel() for parameter in self.parameters)
        self.padded = -(-self.numel // comm.ranks) * comm.ranks
        size = self.padded // comm.ranks
        self.mine = slice(comm.rank * size, (comm.rank + 1) * size) if sharded else slice(0, self.padded)
        self.flat = self._flattened([parameter.detach() for parameter in self.parameters])
        for parameter, view in zip(self.parameters, self._views(), strict=True):
            parameter.data = view
        self.master = nn.Parameter(self.flat[self.mine].to(master_dtype, copy=True))
        self.part: Tensor | None = None  # this rank's run for the passes, where the rest is freed
        self.gradient: Tensor | None = None  # averaged, of this rank's run
        self.arrived = 0  # parameters whose gradient is there, in this pass
        self.bytes = self.flat.nbytes

    def keep_part(self) -> None:
        """From now on hold this run alone between passes."""
        self.part = self.flat[self.mine].clone()
        self.free()

    def gather(self) -> None:
        """Fill the parameters from all ranks' runs; nothing where they are there."""
        if self.part is not None and not self.flat.untyped_storage().nbytes():
            self.flat.untyped_storage().resize_(self.bytes)
            self.comm.all_gather(self.flat, self.part)

    def free(self) -> None:
        """Empty the parameters, where only a run is to be held."""
        if self.part is not None:
            self.flat.untyped_storage().resize_(0)

    def reduce(self) -> None:
        """Average the gradients over ranks, add this rank's run of it to what it has, and let go of the rest."""
        whole = self._flattened([p.new_zeros(p.shape) if p.grad is None else p.grad for p in self.parameters])
        whole /= self.comm.ranks
        for parameter in self.parameters:
            parameter.grad = None
        if self.sharded:
            whole = self.comm.reduce_scatter(whole)
        else:
            self.comm.all_reduce(whole)
        self.gradient = whole if self.gradient is None else self.gradient + whole
        self.arrived = 0

    def gradient_or_zeros(self) -> Tensor:
        """The averaged gradient of this rank's run."""
        return torch.zeros_like(self.master) if self.gradient is None else self.gradient

    @torch.no_grad()
    def take_step(self, *, gather: bool) -> None:
        """Take over the stepped weights; gather those of all ranks now, or hold this run alone."""
        self.master.grad = self.gradient = None
        stepped = self.master.detach().to(self.flat.dtype)
        if self.part is not None:
            self.free()
            self.part.copy_(stepped)
        elif gather:
            self.comm.all_gather(self.flat, stepped)
        else:
            self.flat.copy_(stepped)

    def parameter_bytes(self) -> int:
        """Of weights for the passes that are there now."""
        return self.flat.untyped_storage().nbytes() + (0 if self.part is None else self.part.nbytes)

    def gradient_bytes(self) -> int:
        """Of gradients that are there now, whole ones and this rank's run."""
        whole = sum(parameter.grad.nbytes for parameter in self.parameters if parameter.grad is not None)
        return whole + (0 if self.gradient is None else self.gradient.nbytes)

    def _flattened(self, tensors: list[Tensor]) -> Tensor:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        return torch.cat([flat, flat.new_zeros(self.padded - self.numel)]) if self.padded > self.numel else flat

    def _views(self) -> list[Tensor]:
        pieces = self.flat[: self.numel].split([parameter.numel() for parameter in self.parameters])
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self.parameters, strict=True)]
