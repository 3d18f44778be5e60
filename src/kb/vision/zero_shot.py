"""Classes from words alone, and what the joint space looks like.

Unusual: a class is the mean of its prompts' unit vectors, made a unit vector again; the mean is over embeddings, so
an ensemble costs no more at prediction than one prompt.

Sources: Radford et al. 2021, section 3.1.2 and 3.1.4 (prompts and ensembles); Liang et al. 2022, Mind the Gap,
section 2 (the modality gap as the distance between the centres).
Shapes: B images, K classes, M prompts of a class, E joint width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def class_vectors_loop(prompts_KME: Tensor) -> Tensor:
    """Reference for :func:`class_vectors`: one class, one prompt at a time."""
    rows = []
    for prompts_ME in prompts_KME:
        total = torch.zeros_like(prompts_ME[0])
        for one in prompts_ME:
            total = total + one / one.square().sum().sqrt()
        rows.append(total / total.square().sum().sqrt())
    return torch.stack(rows)


def class_vectors(prompts_KME: Tensor) -> Tensor:
    """One unit vector a class, [K, E], from embeddings of its prompts.

    Raises:
        ValueError: there are not three axes, or no class or prompt.
    """
    if prompts_KME.dim() != 3 or 0 in prompts_KME.shape:
        raise ValueError(f"prompts must be [classes, prompts, width], none empty, got {tuple(prompts_KME.shape)}")
    return F.normalize(F.normalize(prompts_KME, dim=-1).mean(1), dim=-1)


def hits(images_BE: Tensor, classes_KE: Tensor, labels_B: Tensor) -> Tensor:
    """For each image, whether its class is the nearest, [B]; of equally near ones the first counts.

    Raises:
        ValueError: widths differ, labels are not one integer an image below the number of classes, or a vector is not
            finite: the largest of NaNs would be some class.
    """
    if images_BE.dim() != 2 or classes_KE.dim() != 2 or images_BE.shape[1] != classes_KE.shape[1]:
        raise ValueError(f"images and classes must share a width, got {images_BE.shape} and {classes_KE.shape}")
    if labels_B.shape != images_BE.shape[:1] or labels_B.is_floating_point():
        raise ValueError(f"labels must be {len(images_BE)} integers, got {tuple(labels_B.shape)} {labels_B.dtype}")
    if labels_B.numel() and not 0 <= int(labels_B.min()) <= int(labels_B.max()) < len(classes_KE):
        raise ValueError(f"labels must be from 0 to {len(classes_KE) - 1}, got {labels_B}")
    scores_BK = images_BE @ classes_KE.T
    if not bool(scores_BK.isfinite().all()):
        raise ValueError("images and classes must be finite, got a similarity that is not")
    return scores_BK.argmax(1) == labels_B


def modality_gap(images_BE: Tensor, texts_BE: Tensor) -> float:
    """Distance between the centres of unit vectors of images and of texts: 0 where they mix, 2 at most.

    Raises:
        ValueError: there are not two axes, widths differ, or there is no image or text.
    """
    shapes = tuple(images_BE.shape), tuple(texts_BE.shape)
    if images_BE.dim() != 2 or texts_BE.dim() != 2 or shapes[0][1] != shapes[1][1] or 0 in (*shapes[0], *shapes[1]):
        raise ValueError(f"images and texts must be [B, E] of one width, none empty, got {shapes[0]} and {shapes[1]}")
    centres = [F.normalize(one, dim=-1).mean(0) for one in (images_BE, texts_BE)]
    return float(torch.linalg.vector_norm(centres[0] - centres[1]))
