"""What a language model loses at each position, past those of its training too; and the same weights elsewhere.

A mean over a window hides where it fails: the loss is kept by position, and averaged over windows alone. What can be
changed in a trained model without training is how positions become angles, and how far back a query may look;
:func:`with_positions` changes these and shares the weights. Unusual: that a query sees only so many keys is a setting
of positions too, since with it no distance is longer than those of training, whatever the length.

Sources: Press, Smith and Lewis 2022, Train Short, Test Long, section 2 (what extrapolation is, and how to measure it);
Chen et al. 2023, Extending Context Window of Large Language Models via Positional Interpolation.
Shapes: W windows of T tokens and the one after; B at a time; V vocabulary.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.lm.model import DecoderLM
from kb.nn import RopeParameters


@torch.no_grad()
def loss_by_position(model: nn.Module, windows_WT: Tensor, *, batch: int = 8) -> Tensor:
    """Mean cross-entropy, in nats, of the token after each position, over windows: [T] float64.

    Args:
        model: Of token ids [B, T] to logits [B, T, V]; in evaluation mode meanwhile.
        windows_WT: Token ids [W, T + 1], each window from the model's position 0.
        batch: B, how many windows go through the model at a time.

    Raises:
        ValueError: the windows are not [W, T + 1] with a token to predict, or the batch is no positive integer.
    """
    require_count("batch", batch)
    if windows_WT.dim() != 2 or windows_WT.shape[0] == 0 or windows_WT.shape[1] < 2:
        raise ValueError(f"windows must be [W, T + 1] with W and T at least 1, got {tuple(windows_WT.shape)}")
    was_training = model.training
    model.eval()
    total_T = torch.zeros(windows_WT.shape[1] - 1, dtype=torch.float64)
    try:
        for windows_BT in windows_WT.split(batch):
            logits_BVT = model(windows_BT[:, :-1]).float().transpose(1, 2)
            losses_BT = F.cross_entropy(logits_BVT, windows_BT[:, 1:].long(), reduction="none")
            total_T += losses_BT.double().sum(0).cpu()
    finally:
        model.train(was_training)
    return total_T / len(windows_WT)


def with_positions(model: DecoderLM, *, rope: RopeParameters | None = None, window: int | None = None) -> DecoderLM:
    """The same weights, shared and not copied, under other rotary angles, or with a shorter view, or both.

    Args:
        model: Its feed-forward networks are the ones that :class:`kb.lm.DecoderLM` makes by itself.
        rope: How the angles are made; the model's own way if not given.
        window: How many keys each query sees at most, in every layer; as the model has it if not given.

    Returns:
        A model in the mode, training or evaluation, of the given one. Training either changes both.

    Raises:
        TypeError: ``model`` is no :class:`kb.lm.DecoderLM` or ``rope`` no :class:`kb.nn.RopeParameters`.
        ValueError: the window is not a positive integer.
    """
    if not isinstance(model, DecoderLM):
        raise TypeError(f"model must be a DecoderLM, got {type(model).__name__}")
    if rope is not None and not isinstance(rope, RopeParameters):
        raise TypeError(f"rope must be RopeParameters, got {type(rope).__name__}")
    config = model.config
    if rope is not None:
        config = replace(config, rope=rope)
    if window is not None:
        require_count("window", window)
        config = replace(config, windows=(window,) * config.num_layers)
    with torch.device("meta"):
        other = DecoderLM(config)
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            other.get_submodule(name)._parameters[key] = parameter
    return other.train(model.training)
