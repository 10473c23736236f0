"""Recorded pairs: the same tissue at low and at high resolution, registered for training.

Two recordings of one field never lie pixel on pixel and seldom have the same white point. The
shift is found by phase correlation (Kuglin & Hines 1975; with the sub-pixel refinement of
Guizar-Sicairos et al. 2008) and applied by cutting both images to where they overlap, without
interpolation. The colours of the high resolution are then brought to those of the low one, since a
generator must keep the colours of its input.
"""

from pathlib import Path

import cv2
import numpy as np
from skimage.registration import phase_cross_correlation

from images.degradation import degrade_area
from images.errors import named_with_folder
from images.finding import find_images
from images.opening import open_image
from shared.pictures import SLIDE_MICRONS, read_with_size

LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601
LEAST_CORRELATION = 0.8  # of the luminances of a pair, after registration
# Low-resolution pixels that may be found in a quarter of a true pair, beside the half pixel of the
# high resolution to which it is cut. On 816 pairs that were cut exactly (27 real images; shifts,
# another white point, noise of 3 grey levels, JPEG of quality 50 and 85) the worst was 0.06 for
# fields of 400 high-resolution pixels, 0.11 for 200, and 0.23 for 200 at quality 50.
MEASURING_NOISE = 0.1
SMOOTHING = 1.0  # low-resolution pixels; JPEG's noise would make slopes look steeper than they are
LEAST_CONTRAST = 4.0  # grey levels; standard deviation of a field that shows something
LARGEST_GAIN = 2.0  # between the contrasts of both
OTHER_SIZE = 0.1  # relative difference from which a stated pixel size is said
OTHER_FACTOR = 0.005  # relative difference of stated pixel sizes: 2 pixels in a field of 400
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
            sizes = image.microns_per_pixel, stated.microns
        try:
            _check_sizes(*sizes, self.scale)
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
    luminances = _luminances(low, high, scale)
    if min(values.std() for values in luminances) < LEAST_CONTRAST:
        raise ValueError("one of the recorded images is blank")
    shift = np.rint(scale * _shift(*luminances)) / scale  # as far as both can be cut
    # Noise can mislead the phase correlation by pixels of the high resolution; the slopes tell, up
    # to a pixel of the low one.
    left = _residue(*_luminances(*_cut(low, high, shift, scale), scale))
    shift = np.rint(scale * (shift + np.clip(left, -1, 1))) / scale
    low, high = _cut(low, high, shift, scale)
    _check_match(*_luminances(low, high, scale), scale)
    return low, _with_colours_of(low, high, scale)


def _check_sizes(low: float | None, high: float | None, scale: int):
    """Raise ValueError where both files state their um per pixel, and another factor by it."""
    if low and high and abs(low / high / scale - 1) > OTHER_FACTOR:
        raise ValueError(
            f"the recorded images state {low:.4g} and {high:.4g} um per pixel, a factor of "
            f"{low / high:.3f}; expected SCALE, {scale}: resize one of them, or correct its size"
        )


def _luminances(low, high, scale):
    """Return the luminances (float32) of both at the low resolution."""
    weights = np.array(LUMINANCE, np.float32)
    return tuple(image.astype(np.float32) @ weights for image in (low, degrade_area(high, scale)))


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


def _residue(first, second):
    """Return the small (y, x) by which `second` still has to be moved to lie on `first`.

    Least squares over the slopes of `second` (Lucas & Kanade 1981) beside its gain and offset: of
    shifts below a pixel it is several times as exact as phase correlation, which JPEG misleads.
    """
    inner = slice(2, -2)  # slopes at the border are one-sided
    first, second = (cv2.GaussianBlur(values, (0, 0), SMOOTHING) for values in (first, second))
    terms = [*np.gradient(second), second, np.ones_like(second)]
    design = np.column_stack([term[inner, inner].ravel() for term in terms])
    down, across, gain, _ = np.linalg.lstsq(design, first[inner, inner].ravel(), rcond=None)[0]
    return -np.array([down, across]) / max(gain, 1e-6)


def _cut(low, high, shift, scale):
    """Cut both to where they overlap, where `high` is moved by `shift` low-resolution pixels."""
    rows, columns = (
        _overlap(low.shape[axis], high.shape[axis], shift[axis], scale) for axis in (0, 1)
    )
    return low[rows[0], columns[0]], high[rows[1], columns[1]]


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


def _check_match(first, second, scale):
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
        residue = np.abs(_residue(one, other)).max()
        if residue > 0.5 / scale + MEASURING_NOISE:
            raise ValueError(
                f"a quarter of the recorded images is still shifted by {residue:.2f} pixels after "
                "registration; expected no rotation, and SCALE as the factor between them"
            )


def _quarters(shape):
    halves = [(slice(0, side // 2), slice(side // 2, side)) for side in shape]
    return [(rows, columns) for rows in halves[0] for columns in halves[1]]
