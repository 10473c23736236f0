"""The network that tells how large the pixels of a patch of tissue are."""

from dataclasses import dataclass, field

import cv2
import keras
import numpy as np

KNOWN = (0.05, 4.0)  # um per pixel; it was trained on no others
SIDE = 224  # of a patch in pixels, if the record does not state it


@dataclass
class PixelSizeNetwork:
    """A trained network for pixel sizes.

    Attributes:
        model: maps (batch, height, width, 3) RGB in 0..255 to (batch, 1, 1, 1), log2 of um per
            pixel.
        record: the .json beside the file, {} if there is none.
        sha256: hash of the file.
    """

    model: keras.Model
    record: dict = field(default_factory=dict)
    sha256: str = ""

    @property
    def side(self) -> int:
        """Side in pixels of the patches that it was trained on."""
        return int(self.record.get("patch", SIDE))

    def octaves(self, patches: np.ndarray) -> np.ndarray:
        """Return log2 of the um per pixel of each patch.

        Each is also looked at as if by an objective of twice the power, its middle enlarged: the
        errors of both are hardly related, so their mean is surer than either. Where the middle
        would have finer pixels than the network knows, the first look alone counts.

        Args:
            patches: (batch, height, width, 3) RGB in 0..255, of 2 pixels a side at least.

        Returns:
            (batch,) octaves.
        """
        enlarged = np.stack([_middle_enlarged(patch) for patch in patches])
        both = np.concatenate([patches, enlarged]).astype(np.float32)
        as_it_is, at_twice = np.split(self.model.predict(both, verbose=0)[:, 0, 0, 0], 2)
        both_known = as_it_is >= np.log2(2 * KNOWN[0])
        # Pixels of half the size are one octave finer.
        return np.where(both_known, (as_it_is + at_twice + 1) / 2, as_it_is)


def _middle_enlarged(patch: np.ndarray) -> np.ndarray:
    height, width = patch.shape[:2]
    middle = patch[height // 4 :, width // 4 :][: -(-height // 2), : -(-width // 2)]
    return cv2.resize(middle, (width, height), interpolation=cv2.INTER_CUBIC)
