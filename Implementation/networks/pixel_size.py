"""The network that tells how large the pixels of a patch of tissue are."""

from dataclasses import dataclass, field

import keras
import numpy as np

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

        Args:
            patches: (batch, height, width, 3) RGB in 0..255.

        Returns:
            (batch,) octaves.
        """
        return self.model.predict(patches.astype(np.float32), verbose=0)[:, 0, 0, 0]
