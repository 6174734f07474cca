"""What the small CLIPs read during training: captions of content, of quality and of distortions.

Each kind of caption comes in several wordings, so that no single one is needed later. A step compares its photographs
with all captions of a kind; ``truth`` says how true each is of each photograph.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.models._meta import _IMAGENET_CATEGORIES as NOUNS

from grmp.clip.model import tokenize
from small.photographs import KINDS

SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")

_CONTENT = ("a photo of a {}", "a photo of a {}.", "an image of a {}", "{}")
_PAIRS = (("high quality", "low quality"), ("good quality", "bad quality"), ("good photo", "bad photo"))
_QUALITY = ("a photo with {}.", "X X X X {}.", "{}.", "a photo of {}.")
_ANTONYMS = (
    ("Good photo.", "Bad photo."),
    ("a good photo.", "a bad photo."),
    ("a high quality photo.", "a low quality photo."),
)
_WORDS = {
    "defocus": "blurry",
    "motion": "shaken",
    "noise": "noisy",
    "jpeg": "compressed",
    "dark": "dark",
    "bright": "overexposed",
    "low resolution": "pixelated",
    "low contrast": "pale",
}
_DISTORTED = ("a {} photo.", "a {} image.", "the photo is {}.")
CLEAN_WORD = "flawless"

# Scenes of ImageNet's classes by their numbers; what is not listed belongs to "others".
_RANGES = {
    "animal": "0-397",
    "cityscape": "407 436 437 442 468 483 497 498 511 517 536 538 555 562 581 609 627 654 656 661 663 665 668 670 671 675 "
    "682 698 704 705 716 718 734 743 751 779 817 821 829 832 839 858 864 867 873 874 888 900 919",
    "human": "399 400 411 433 439 445 452 457 459 474 501 515 568 578 601 602 608 610 614 617 638 639 643 652 655 667 689 697 "
    "702 735 775 796 808 834 836 837 841 842 869 887 903 906 981-983",
    "indoor": "406 415 421 423 424 431 435 453 454 467 495 509 516 520 526 527 532 534 548 556 564 579 582 598 619 624 648 651 "
    "664 669 721 736 750 760 762 765 782 786 788 789 794 799 811 819 827 831 846 851 854 857 859-861 865 876 894 896 897 "
    "904 905",
    "landscape": "449 460 484 500 525 576 595 649 672 780 853 866 871 912-914 958 970 972-980",
    "night": "470 607 818 862 920",
    "plant": "580 936-948 984-986 989-998",
    "still_life": "440 441 463 504 505 532 738 809 849 883 898 899 907 923-935 949-957 959-969 987 988",
}


@dataclass(frozen=True)
class Captions:
    """Every caption by kind; ``known`` are the token ids that occur, in increasing order."""

    nouns: tuple[Tensor, ...]  # for each wording token ids (1000, 77)
    scenes: tuple[Tensor, ...]  # (9, 77)
    quality: Tensor  # (C, 77), pairs in turn: good, bad, good, bad
    distortions: tuple[Tensor, ...]  # (9, 77): 8 kinds and the clean photograph
    known: Tensor

    def rows(self, tokens: Tensor) -> Tensor:
        """Token ids -> rows of the pruned embedding; the end of text keeps the largest."""
        return torch.searchsorted(self.known, tokens)


def captions() -> Captions:
    """All captions, in a fixed order."""
    nouns = tuple(tokenize([t.format(noun) for noun in NOUNS]) for t in _CONTENT)
    scenes = tuple(tokenize([t.format(scene) for scene in SCENES]) for t in _CONTENT)
    pairs = [t.format(word) for t in _QUALITY for pair in _PAIRS for word in pair]
    quality = tokenize([*pairs, *(text for pair in _ANTONYMS for text in pair)])
    words = [*_WORDS.values(), CLEAN_WORD]
    distortions = tuple(tokenize([t.format(word) for word in words]) for t in _DISTORTED)
    everything = [tokens.flatten() for tokens in (*nouns, *scenes, quality, *distortions)]
    return Captions(nouns, scenes, quality, distortions, torch.cat(everything).unique())


def scene_truth(probabilities: Tensor) -> Tensor:
    """(B, 1000) ImageNet probabilities -> (B, 9) of the scenes."""
    return probabilities @ _SCENE_OF_CLASS.to(probabilities)


def distortion_truth(levels: np.ndarray) -> Tensor:
    """(B, 8) levels -> (B, 9) shares of the words: by level, the last word where nothing was done."""
    shares = torch.from_numpy(np.column_stack([levels, levels.sum(1) == 0])).float()
    return shares / shares.sum(1, keepdim=True)


def _matrix() -> Tensor:
    matrix = torch.zeros((1000, len(SCENES)))
    for scene, ranges in _RANGES.items():
        for part in ranges.split():
            first, _, last = part.partition("-")
            matrix[int(first) : int(last or first) + 1, SCENES.index(scene)] = 1
    matrix[matrix.sum(1) == 0, SCENES.index("others")] = 1
    return matrix / matrix.sum(1, keepdim=True)


_SCENE_OF_CLASS = _matrix()
assert tuple(_WORDS) == KINDS
