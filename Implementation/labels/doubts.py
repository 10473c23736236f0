"""Labels that can hardly be right: background taken for a nucleus, outlines of a smaller copy."""

import numpy as np

from labels.label_map import Labels

# A nucleus, or a connected part of a binary mask, that covers more of its image and reaches as many
# of its sides is background. Of 756 label maps of seven sets and the same as binary masks, of up to
# 63 % nuclei, none reaches three sides; of 2,868 binary crops of 256 pixels one would be refused.
# Inverted, all 756 are.
LARGEST, SIDES = 0.25, 3
# More nuclei than that do not all lie so near the upper left corner, but those of an image of half
# the size do. Of the same label maps, mirrored to all corners, none does, nor one of 4,669 crops.
CORNER, FEW = 0.55, 10
TRUSTED = "MASKS (--masks) binary or instances takes it as it is"


def refuse_doubtful(labels: Labels):
    """Raise ValueError for labels that can hardly be right.

    Args:
        labels: as they were understood without being told what they are.
    """
    if _holds_background(labels.map):
        what = "nucleus" if labels.instances else "connected part"
        raise ValueError(
            f"a {what} covers more than a quarter of the image and reaches {SIDES} of its sides or "
            "more, as background does: make the background 0 (invert a mask whose nuclei are dark, "
            f"delete an outline around everything); if all is right, {TRUSTED}"
        )
    if _lies_in_corner(labels):
        raise ValueError(
            f"all nuclei, more than {FEW}, lie in the upper left {CORNER:.0%} of width and height: "
            "they belong to another magnification of the image, so export them for its full "
            "resolution; if only this corner is labelled, crop the image or draw an annotation of "
            f"class Region around it in QuPath; if all is right, {TRUSTED}"
        )


def _holds_background(numbers: np.ndarray) -> bool:
    sides = (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1])
    found, reached = np.unique(
        np.concatenate([np.unique(side) for side in sides]), return_counts=True
    )
    suspects = found[(found > 0) & (reached >= SIDES)]
    return any(np.mean(numbers == suspect) > LARGEST for suspect in suspects)


def _lies_in_corner(labels: Labels) -> bool:
    said = labels.map > 0
    if labels.known is not None:
        if labels.known.all():  # a region around everything says that the rest is empty
            return False
        # What is not known was said, too: a region in the corner, or nuclei that are ignored.
        said |= ~labels.known
    height, width = (int(CORNER * side) for side in said.shape)
    if said[height:].any() or said[:, width:].any():
        return False
    return np.count_nonzero(np.unique(labels.map[:height, :width])) > FEW
