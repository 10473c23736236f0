"""Recorded pairs: the same tissue at low and at high resolution, registered for training.

Two recordings of one field never lie pixel on pixel and seldom have the same white point. The
shift is found by phase correlation (Kuglin & Hines 1975; with the sub-pixel refinement of
Guizar-Sicairos et al. 2008) and applied by cutting both images to where they overlap, without
interpolation. The colours of the high resolution are then brought to those of the low one, since a
generator must keep the colours of its input.
"""

from pathlib import Path

import numpy as np
from skimage.registration import phase_cross_correlation

from images.degradation import degrade_area
from images.errors import named_with_folder
from images.finding import find_images
from images.opening import open_image
from shared.pictures import SLIDE_MICRONS, read_with_size

LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601
LEAST_CORRELATION = 0.8  # of the luminances of a pair, after registration
LARGEST_RESIDUE = 1.0  # low-resolution pixels; shift that may be left in a quarter of the field
LEAST_CONTRAST = 4.0  # grey levels; standard deviation of a field that shows something
LARGEST_GAIN = 2.0  # between the contrasts of both
OTHER_SIZE = 0.1  # relative difference from which a stated pixel size is said
FINENESS = 20  # shifts are found to 1/20 of a low-resolution pixel


class Partners:
    """The recorded low-resolution images of a folder, by the names of their partners.

    Args:
        folder: searched recursively; None = there are none.
        scale: linear factor between high and low resolution.

    Attributes:
        registered: number of pairs that were registered so far.
        refused: a line for each pair that was left out.
        of_other_size: the same for each high-resolution image that states another pixel size than
            the generator's result has; it is learned as it is.

    Raises:
        OSError, ValueError: the folder holds no images, or two of one name.
    """

    def __init__(self, folder: Path | None, scale: int):
        self.scale = scale
        self.registered = 0
        self.refused = []
        self.of_other_size = []
        self._files = {}
        for path in find_images(folder, recursive=True) if folder else ():
            first = self._files.setdefault(path.stem, path)
            if first != path:
                raise ValueError(f"{first} and {path} have one name; remove or rename one of them")

    def file_of(self, high: Path) -> Path | None:
        """Return the recorded partner of an image: the file with the same stem."""
        return self._files.get(high.stem)

    def refuse_orphans(self, images: list[Path]):
        """Raise ValueError unless each recorded image has a high-resolution partner."""
        orphans = self._files.keys() - {path.stem for path in images}
        if orphans:
            raise ValueError(
                f"LOW_RESOLUTION_FOLDER: {len(orphans)} images have no high-resolution partner of "
                f"the same name, such as {self._files[min(orphans)].name}; rename or remove them"
            )

    def pictures_of(self, path: Path) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Read an image, registered with its recorded partner where it has one.

        Returns:
            (high resolution, recorded low resolution or None), uint8 RGB; nothing where the pair
            does not match, which is noted in `refused`.

        Raises:
            ValueError: a file cannot be read.
        """
        pictures, stated = read_with_size(path)
        if stated.microns and abs(stated.microns / SLIDE_MICRONS - 1) > OTHER_SIZE:
            self.of_other_size.append(f"{path.name}: {stated.microns:.3g} um")
        partner = self.file_of(path)
        if partner is None:
            return [(high, None) for high in pictures]
        with named_with_folder(partner), open_image(partner, SLIDE_MICRONS * self.scale) as image:
            recorded = image.read(0, 0, image.width, image.height)
        try:
            if len(pictures) > 1:
                raise ValueError("so large a slide is read in parts; export the field alone")
            low, high = register(recorded, pictures[0], self.scale)
        except ValueError as error:
            self.refused.append(f"{path.name}: {error}")
            return []
        self.registered += 1
        return [(high, low)]


def register(low: np.ndarray, high: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut two recordings of one field to where they overlap, to half a high-resolution pixel.

    Args:
        low, high: uint8 RGB; they may show different borders of the field.
        scale: linear factor between both.

    Returns:
        (low, high): uint8 RGB (h, w, 3) and (scale*h, scale*w, 3); `high` has the colours of `low`.

    Raises:
        ValueError: they show different tissue, another factor, an angle between them, or colours
            that no linear change brings together.
    """
    high = high[: high.shape[0] // scale * scale, : high.shape[1] // scale * scale]
    luminances = _luminance(low), _luminance(degrade_area(high, scale))
    if min(values.std() for values in luminances) < LEAST_CONTRAST:
        raise ValueError("one of the recorded images is blank")
    shift = _shift(*luminances)
    rows, columns = (
        _overlap(low.shape[axis], high.shape[axis], shift[axis], scale) for axis in (0, 1)
    )
    low, high = low[rows[0], columns[0]], high[rows[1], columns[1]]
    _check_match(_luminance(low), _luminance(degrade_area(high, scale)))
    return low, _with_colours_of(low, high, scale)


def _luminance(image):
    return image.astype(np.float32) @ np.array(LUMINANCE, np.float32)


def _shift(first, second):
    """Return (y, x) by which `second` has to be moved to lie on `first`."""
    shape = np.maximum(first.shape, second.shape)
    canvases = []
    for values in (first, second):
        window = np.outer(*(np.hanning(side + 2)[1:-1] for side in values.shape))
        canvas = np.zeros(shape, np.float32)
        canvas[: values.shape[0], : values.shape[1]] = (values - values.mean()) * window
        canvases.append(canvas)
    return phase_cross_correlation(*canvases, upsample_factor=FINENESS)[0]


def _overlap(low_side: int, high_side: int, shift: float, scale: int) -> tuple[slice, slice]:
    """Return the pixels of low and high resolution that show the same stretch of one axis."""
    start = max(0, int(np.ceil(shift)))
    first = round(scale * (start - shift))
    count = min(low_side - start, (high_side - first) // scale)
    if 2 * count < min(low_side, high_side // scale):
        raise ValueError(
            "the recorded images overlap by less than half; expected the same field in both"
        )
    return slice(start, start + count), slice(first, first + scale * count)


def _with_colours_of(low, high, scale):
    """Apply to `high` the linear change of RGB that brings its block means closest to `low`.

    Fitted by least squares in this direction, because the means hold little noise: noise in what
    is known would flatten the colours.
    """
    means = degrade_area(high, scale).reshape(-1, 3).astype(np.float64)
    design = np.column_stack([means, np.ones(len(means))])
    change = np.linalg.lstsq(design, low.reshape(-1, 3).astype(np.float64), rcond=None)[0]
    changed = high.reshape(-1, 3) @ change[:3] + change[3]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8).reshape(high.shape)


def _check_match(first, second):
    """Raise ValueError unless two luminances of one grid show the same tissue at the same place."""
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    if not correlation >= LEAST_CORRELATION:
        raise ValueError(
            f"the recorded images do not match (correlation {correlation:.2f} after registration, "
            f"expected at least {LEAST_CORRELATION}); expected the same field in both, without "
            "rotation, and SCALE as the factor between them"
        )
    gain = first.std() / max(second.std(), 1e-6)
    if not 1 / LARGEST_GAIN <= gain <= LARGEST_GAIN:
        raise ValueError(f"the contrasts of the recorded images differ by a factor {gain:.2f}")
    for quarter in _quarters(first.shape):
        one, other = first[quarter], second[quarter]
        if min(one.std(), other.std()) < LEAST_CONTRAST:
            continue
        residue = np.abs(_shift(one, other)).max()
        if residue > LARGEST_RESIDUE:
            raise ValueError(
                f"a quarter of the recorded images is still shifted by {residue:.1f} pixels after "
                "registration; expected no rotation, and SCALE as the factor between them"
            )


def _quarters(shape):
    halves = [(slice(0, side // 2), slice(side // 2, side)) for side in shape]
    return [(rows, columns) for rows in halves[0] for columns in halves[1]]
