"""A lab for chains of thought: tasks whose true steps are known, small models trained on them, and probes of both."""

from kb.cot.lab.experiment import Run, Score, by_length, mixture, run, score
from kb.cot.lab.faithfulness import (
    Chain,
    Effect,
    Probing,
    chains,
    cut_short,
    early_answering_area,
    with_filler,
    with_mistake,
)
from kb.cot.lab.formats import (
    COUNTED,
    FORMATS,
    Batch,
    Counted,
    Format,
    Reading,
    batch,
    prompt,
    read,
    sequence,
)
from kb.cot.lab.marks import LAB, Marks
from kb.cot.lab.model import LabModel
from kb.cot.lab.star import Keep, Round, StarConfig, star
from kb.cot.lab.task import Example, Task, held_out, is_held_out, stream
from kb.cot.lab.tasks import Addition, Lookup, Parity, WordProblems
from kb.cot.lab.training import Corpus, Recipe, masked_loss, sequence_flops

__all__ = [
    "COUNTED",
    "FORMATS",
    "LAB",
    "Addition",
    "Batch",
    "Chain",
    "Corpus",
    "Counted",
    "Effect",
    "Example",
    "Format",
    "Keep",
    "LabModel",
    "Lookup",
    "Marks",
    "Parity",
    "Probing",
    "Reading",
    "Recipe",
    "Round",
    "Run",
    "Score",
    "StarConfig",
    "Task",
    "WordProblems",
    "batch",
    "by_length",
    "chains",
    "cut_short",
    "early_answering_area",
    "held_out",
    "is_held_out",
    "masked_loss",
    "mixture",
    "prompt",
    "read",
    "run",
    "score",
    "sequence",
    "sequence_flops",
    "star",
    "stream",
    "with_filler",
    "with_mistake",
]
