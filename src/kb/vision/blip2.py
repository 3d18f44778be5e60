"""BLIP-2's two stages: a Q-Former learns to read a frozen image encoder, then to speak to a frozen language model.

Stage 1 has three losses on the same three inputs, told apart by masks; stage 2 has one, and the language model's own.
Unusual: both frozen parts are handed in as tensors or modules that are never changed, and a test says so.

Source: Li et al. 2023, BLIP-2, section 3.2 (stage 1), section 3.3 (stage 2, decoder-only).
Shapes: B pairs, Q queries, T tokens, P patches, D Q-Former width, E image width, L language model width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.vision.blip import BlipLosses, caption_loss, matching_loss
from kb.vision.clip import clip_loss
from kb.vision.qformer import QFormer, QFormerConfig
from kb.vision.text import TextTransformer


def query_similarity_loop(queries_BQJ: Tensor, texts_BJ: Tensor) -> Tensor:
    """Reference for :func:`query_similarity`: one image, one text, one query at a time."""
    rows = [
        torch.stack([torch.stack([query @ text for query in image]).max() for text in texts_BJ])
        for image in queries_BQJ
    ]
    return torch.stack(rows)


def query_similarity(queries_BQJ: Tensor, texts_BJ: Tensor) -> Tensor:
    """Of the similarities of a text to an image's queries the largest, [images, texts].

    Raises:
        ValueError: queries are not [B, Q, J], Q from 1, or texts not [B, J] of the same width.
    """
    shapes = tuple(queries_BQJ.shape), tuple(texts_BJ.shape)
    if queries_BQJ.dim() != 3 or texts_BJ.dim() != 2 or not shapes[0][1] or shapes[0][2] != shapes[1][1]:
        raise ValueError(f"queries must be [B, Q, J] and texts [B, J], got {shapes[0]} and {shapes[1]}")
    return torch.einsum("iqj,tj->itq", queries_BQJ, texts_BJ).amax(-1)


class StageOne(nn.Module):
    """The Q-Former with the heads of the three losses.

    Args:
        config: Of the Q-Former.
        start_caption: The token in the place of a text's first, which tells the Q-Former to write.
        joint: Width of the space of the contrast.

    Raises:
        ValueError: ``joint`` is no positive integer, or the token not in the vocabulary.
    """

    def __init__(self, config: QFormerConfig, start_caption: int, joint: int = 256) -> None:
        super().__init__()
        require_count("start_caption", start_caption, least=0)
        require_count("joint", joint)
        if start_caption >= config.vocab:
            raise ValueError(f"start_caption must be below the vocabulary of {config.vocab}, got {start_caption}")
        self.start_caption = start_caption
        self.qformer = QFormer(config)
        self.query_projection, self.text_projection = nn.Linear(config.width, joint), nn.Linear(config.width, joint)
        self.match_head, self.word_head = nn.Linear(config.width, 2), nn.Linear(config.width, config.vocab)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def similarities(self, image_BPE: Tensor, tokens_BT: Tensor, pad_BT: Tensor) -> Tensor:
        """Contrast logits, [images, texts], under the mask that keeps queries and text apart."""
        queries_BQD, text_BTD = self.qformer(image_BPE, tokens_BT, "apart", pad_BT)
        queries_BQJ = F.normalize(self.query_projection(queries_BQD), dim=-1)
        text_BJ = F.normalize(self.text_projection(text_BTD[:, 0]), dim=-1)
        return query_similarity(queries_BQJ, text_BJ) / self.temperature

    def match_logits(self, image_BPE: Tensor, tokens_BT: Tensor, pad_BT: Tensor) -> Tensor:
        """Mean over the queries of what each says of the pair, [B, 2]; queries and text see each other."""
        queries_BQD, _ = self.qformer(image_BPE, tokens_BT, "together", pad_BT)
        out: Tensor = self.match_head(queries_BQD).mean(1)
        return out

    def caption_logits(self, image_BPE: Tensor, tokens_BT: Tensor, pad_BT: Tensor) -> Tensor:
        """Of the token after each, [B, T, V]: the image reaches the text through the queries alone."""
        tokens_BT = torch.cat((torch.full_like(tokens_BT[:, :1], self.start_caption), tokens_BT[:, 1:]), dim=1)
        _, text_BTD = self.qformer(image_BPE, tokens_BT, "captioning", pad_BT)
        out: Tensor = self.word_head(text_BTD)
        return out

    def forward(self, image_BPE: Tensor, tokens_BT: Tensor, generator: torch.Generator) -> BlipLosses:
        """The three losses of a batch; ``image_BPE`` comes from a frozen encoder."""
        pad_BT = tokens_BT == 0
        logits_BB = self.similarities(image_BPE, tokens_BT, pad_BT)
        return BlipLosses(
            clip_loss(logits_BB),
            matching_loss(self.match_logits, logits_BB, image_BPE, tokens_BT, pad_BT, generator),
            caption_loss(self.caption_logits(image_BPE, tokens_BT, pad_BT), tokens_BT),
        )


class StageTwo(nn.Module):
    """Queries, projected, as a soft prompt of a frozen language model.

    Args:
        qformer: From stage 1, or fresh.
        model: The language model; it is not registered as a part, so that nothing here trains or moves it.
    """

    def __init__(self, qformer: QFormer, model: TextTransformer) -> None:
        super().__init__()
        self.qformer = qformer
        self.projection = nn.Linear(qformer.config.width, model.config.width)
        self._model = (model,)

    def prompt(self, image_BPE: Tensor) -> Tensor:
        """[B, Q, L]."""
        queries_BQD, _ = self.qformer(image_BPE)
        out: Tensor = self.projection(queries_BQD)
        return out

    def logits(self, image_BPE: Tensor, tokens_BT: Tensor) -> Tensor:
        """Of the token after each of the text's, [B, T, V]."""
        model, prompt_BQL = self._model[0], self.prompt(image_BPE)
        x = torch.cat((prompt_BQL, model.embed_tokens(tokens_BT)), dim=1)
        return model.logits(x)[:, prompt_BQL.shape[1] :]

    def forward(self, image_BPE: Tensor, tokens_BT: Tensor) -> Tensor:
        """The language model's loss on the text, given the image."""
        return caption_loss(self.logits(image_BPE, tokens_BT), tokens_BT)
