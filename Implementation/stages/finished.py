"""An image whose stages are done: what its results are put together from."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from images.opening import ImageFile
from nuclei.tissue import Tissue
from program.settings import MapSettings, OutputSettings
from regions.areas import shares_within
from regions.reading import Annotations
from stages.pieces import Stage
from stages.route import Route
from tiles.geometry import Window
from tiles.raster import Raster


@dataclass(frozen=True)
class Finished:
    """An image whose stages are done: what its results are put together from.

    Attributes:
        name: of the image in the results.
        image: the input.
        route: sizes and scales.
        estimate: um per pixel of the file that the tissue tells, None where it tells nothing.
        tissue: where the tissue is.
        annotations: regions, and what does not count.
        pixels: the result in RGB, read by rectangle.
        windows: the stage that examined it.
        segmented: whether nuclei were looked for.
        hashes: SHA-256 of the models, as columns of the summary.
        folder: where the results go, still unfinished work.
        outputs: what is written.
        maps: how maps are drawn.
    """

    name: str
    image: ImageFile
    route: Route
    estimate: float | None
    tissue: Tissue
    annotations: Annotations
    pixels: Any
    windows: Stage
    segmented: bool
    hashes: dict[str, str]
    folder: Path
    outputs: OutputSettings
    maps: MapSettings

    @property
    def super_resolved(self) -> bool:
        """Whether the image was enlarged."""
        return self.route.scale > 1

    @property
    def field(self) -> float:
        """Pixels of the result per side of a field of the tissue mask."""
        return self.tissue.step * self.route.scale

    @cached_property
    def counting_shares(self) -> np.ndarray:
        """Share of each field of the mask where nuclei count, 0..1."""
        return shares_within(self.annotations.counting, self.tissue.mask.shape, self.field)

    @cached_property
    def tissue_shares(self) -> np.ndarray:
        """Share of each field of the mask that is tissue and counts, 0..1."""
        return (self.tissue.mask * self.counting_shares).astype(np.float32)

    @property
    def geojson_frame(self) -> tuple[float, tuple[float, float]]:
        """Scale and shift from result pixels to the pixels that GeoJSON is written in.

        These are the result's own, or those of the original's full resolution.
        """
        if self.outputs.geojson_frame == "result":
            return 1.0, (0.0, 0.0)
        left, top, _, _ = self.image.place
        downsample = self.image.downsample
        return downsample / self.route.scale, (left * downsample, top * downsample)

    def windows_with(self, what: str) -> list[int]:
        """Return the numbers of the windows in which there is some of it, "nuclei" or "judged"."""
        stage = self.windows
        return [n for n in range(len(stage.sizes)) if stage.pieces.record(n)[what]]

    def fresh_raster(self, files: ExitStack, name: str, extent: Window, dtype) -> Raster:
        """Open a raster of one channel, all zero, until `files` are closed."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        return files.enter_context(Raster(path, extent.width, extent.height, 1, dtype))
