"""Training on many processes: data, tensor, pipeline and context parallelism, and ZeRO, on ``torch.distributed``."""

from kb.distributed.collectives import Collectives
from kb.distributed.context_parallel import blocks_of_work, ring_attention
from kb.distributed.data_parallel import DataParallel, average_gradients, token_mean_loss
from kb.distributed.lost import LostRankError
from kb.distributed.pipeline import LMStage, StepReport, run_step
from kb.distributed.ranks import RankError, Ranks
from kb.distributed.ring import RingStep, ring_all_reduce, ring_on_paper, ring_steps
from kb.distributed.schedules import (
    Action,
    Span,
    bubble_fraction,
    gpipe,
    one_forward_one_backward,
    peak_live,
    predicted_bubble,
    timeline,
)
from kb.distributed.tensor_parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    copy_to_ranks,
    sum_over_ranks,
)
from kb.distributed.tensor_parallel_model import tensor_parallel_lm, tensor_parallel_loss
from kb.distributed.vocab_parallel import VocabParallelEmbedding, vocab_parallel_cross_entropy
from kb.distributed.zero import HeldBytes, Zero
from kb.distributed.zero_memory import StateBytes, activation_bytes, zero_bytes, zero_traffic

__all__ = [
    "Action",
    "Collectives",
    "ColumnParallelLinear",
    "DataParallel",
    "HeldBytes",
    "LMStage",
    "LostRankError",
    "RankError",
    "Ranks",
    "RingStep",
    "RowParallelLinear",
    "Span",
    "StateBytes",
    "StepReport",
    "VocabParallelEmbedding",
    "Zero",
    "activation_bytes",
    "average_gradients",
    "blocks_of_work",
    "bubble_fraction",
    "copy_to_ranks",
    "gpipe",
    "one_forward_one_backward",
    "peak_live",
    "predicted_bubble",
    "ring_all_reduce",
    "ring_attention",
    "ring_on_paper",
    "ring_steps",
    "run_step",
    "sum_over_ranks",
    "tensor_parallel_lm",
    "tensor_parallel_loss",
    "timeline",
    "token_mean_loss",
    "vocab_parallel_cross_entropy",
    "zero_bytes",
    "zero_traffic",
]
