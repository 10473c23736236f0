"""Networks of the SRGAN and the model that trains them adversarially.

Everything is pure Keras 3 and built from built-in layers only, so a saved generator loads with
`keras.models.load_model` alone, on any backend.

Sources: Ledig et al. 2017 (SRGAN), Lim et al. 2017 (EDSR: residual blocks without batch
normalization), Odena et al. 2016 (nearest-neighbour up-sampling followed by convolutions, which
cannot produce the checkerboards of transposed convolutions).
"""

import math

import keras
from keras import layers, ops

from srgan.back_projection import back_projected
from srgan.interpolation import bicubic_enlargement, set_fixed_weights
from srgan.perceptual.segmenter import nuclei_losses
from srgan.spectral import SpectralBound

ROUNDING = 1 / 12  # variance of rounding to whole grey levels
TRUNK_SCALE = 4  # output pixels per pixel of the trunk; two doublings in the tail


def build_generator(filters: int = 96, residual_blocks: int = 8, scale: int = 4) -> keras.Model:
    """Build the generator: bicubic enlargement plus a learned residual, held to the input.

    The last convolution starts at zero, so an untrained generator is bicubic interpolation and
    training can only add to it. What is added cannot shift the colours of the input, whatever the
    stain, because the result is back-projected (see `back_projection`).

    The trunk always works at a quarter of the output's resolution. For x2 a learned convolution of
    stride 2 leads there, as the pixel-unshuffle of Real-ESRGAN's x2 network does (Wang et al.
    2021), so that a pixel of the output costs the same for both scales. What the stride takes from
    the trunk, the finest detail of the input, reaches the tail by one convolution beside it: a
    linear filter alone sharpens by more than 1 dB there.

    Args:
        filters: width of the residual trunk.
        residual_blocks: number of blocks of two 3x3 convolutions.
        scale: linear enlargement, 4 or 2.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to (batch, scale*height, scale*width, 3)
        RGB in 0..255, float32, for any height and width (x2: even ones).
    """
    inputs = keras.Input((None, None, 3), name="low_resolution")
    image = layers.Rescaling(1 / 255, name="to_unit_range")(inputs)

    stride = TRUNK_SCALE // scale
    head = layers.Conv2D(filters, 3 * stride, stride, padding="same", name="head")(image)
    x = head
    for block in range(1, residual_blocks + 1):
        x = _residual_block(x, filters, f"block{block}")
    x = layers.Conv2D(filters, 3, padding="same", name="trunk_end")(x)
    trunk = x = layers.Add(name="trunk_skip")([head, x])

    for factor, width in ((2, 32), (4, 16)):
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"enlarge_x{factor}")(x)
        x = layers.Conv2D(width, 3, padding="same", name=f"tail_x{factor}")(x)
        if factor == TRUNK_SCALE // scale:  # the resolution of the input
            detail = layers.Conv2D(width, 5, padding="same", name="detail")(image)
            x = layers.Add(name="tail_plus_detail")([x, detail])
        x = layers.LeakyReLU(0.2, name=f"tail_x{factor}_activation")(x)
    residual = layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", name="residual")(x)

    bicubic = bicubic_enlargement(image, scale)
    x = layers.Add(name="bicubic_plus_residual")([bicubic, residual])
    x = back_projected(x, image, trunk, scale, stride)
    x = layers.Rescaling(255.0, name="to_grey_levels")(x)
    outputs = layers.ReLU(max_value=255.0, name="super_resolved")(x)
    generator = keras.Model(inputs, outputs, name="generator")
    set_fixed_weights(generator, scale)
    return generator


def scale_of(generator: keras.Model) -> int:
    """Return the linear enlargement of a generator."""
    return generator.compute_output_shape((1, 64, 64, 3))[1] // 64


def is_held_to_input(generator: keras.Model) -> bool:
    """Tell whether a generator's output is back-projected, as that of older ones is not."""
    return any(layer.name == "consistent" for layer in generator.layers)


def take_weights(generator: keras.Model, other: keras.Model) -> list[str]:
    """Start a generator from the weights of one of another scale, depth or version.

    Layers of one name and shape are taken as they are. The head of an x4 generator is spread over
    the 2x2 pixels of an x2 generator's input that make one of its own, so that the trunk sees what
    it knows. Between two scales the residual stays as it is in `generator`: what has to be added
    to bicubic interpolation depends on the scale.

    Args:
        generator: the generator that is changed in place.
        other: the generator whose weights are taken.

    Returns:
        Names of the layers with weights that were left as they were.

    Raises:
        ValueError: no layer fits.
    """
    theirs = {layer.name: layer.get_weights() for layer in other.layers}
    one_scale = scale_of(generator) == scale_of(other)
    left = []
    for layer in generator.layers:
        if not layer.trainable_weights:
            continue
        ours, weights = layer.get_weights(), theirs.get(layer.name, [])
        if layer.name == "head" and scale_of(generator) < scale_of(other) and weights:
            weights = [weights[0].repeat(2, axis=0).repeat(2, axis=1) / 4, weights[1]]
        same = [w.shape for w in weights] == [w.shape for w in ours]
        if same and (one_scale or layer.name != "residual"):
            layer.set_weights(weights)
        else:
            left.append(layer.name)
    if len(left) == sum(bool(layer.trainable_weights) for layer in generator.layers):
        raise ValueError("the initial generator shares no layer with the one that is built")
    return left


def build_discriminator(first_filters: int = 32, dense_filters: int = 512) -> keras.Model:
    """Build the discriminator of the SRGAN paper (figure 4), which judges patch by patch.

    Eight 3x3 convolutions, every second one strided, widths doubling three times, LeakyReLU(0.2),
    two dense layers. Two departures: a spectral bound on each kernel (see `spectral`) instead of
    batch normalization, whose statistics would give away which batch is the real one; and the
    dense layers see each place by itself (Isola et al. 2017, PatchGAN): a place knows 61 pixels,
    about 15 um, so that every nucleus of a crop is judged, and crops can have any size.

    Returns:
        Model from (batch, height, width, 3) RGB in 0..255 to (batch, height/16, width/16, 1)
        logits, sides rounded up, higher = more real.
    """
    inputs = keras.Input((None, None, 3), name="high_resolution")
    bound = {"kernel_constraint": SpectralBound()}
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for index in range(8):
        width = first_filters * 2 ** (index // 2)
        x = layers.Conv2D(width, 3, strides=1 + index % 2, padding="same", **bound)(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.LeakyReLU(0.2)(layers.Conv2D(dense_filters, 1, **bound)(x))
    # No bias: only differences of logits count.
    logits = layers.Conv2D(1, 1, use_bias=False, name="logits", **bound)(x)
    model = keras.Model(inputs, logits, name="discriminator")
    for variable in model.trainable_variables:
        if variable.constraint:  # applied behind each step, but not to the first weights
            variable.assign(variable.constraint(variable))
    return model


class SRGAN(keras.Model):
    """Generator, discriminator and two frozen networks that judge, trained together by `fit`.

    One optimizer, one generator pass per step. The loss is

        L = pixel * |x - y|_1 + content * d(x, y) + adversarial * L_G + L_D
            + nuclei * KL(U(y), U(x)) + nuclei_features * r(x, y)

    with x the generated and y the real image in 0..1 (pixel term) and 0..255 (all others), d the
    perceptual distance (see `lpips`), L_G and L_D the generator's and the discriminator's
    loss, and the last two terms what a U-net for nuclei sees differently in both (see
    `segmenter`). It is the loss of Ledig et al. 2017, equations 2 to 6, with absolute instead of
    squared errors, and relativistic (Wang et al. 2018, ESRGAN, equations 1 and 2): asked is not
    whether a place is real but whether it is more real than the mean of the other kind, so that
    the generator learns from the real images, too. L_D sees the generated image through
    `stop_gradient`, and L_G sees frozen copies of the discriminator's weights, so that each term
    moves its own network only.

    Calling the model calls the generator.

    Args:
        generator, discriminator: the networks that are trained.
        distance: callable on two batches, the content loss of each pair.
        term_weights: weights of pixel_loss, content_loss, adversarial_loss and, with a segmenter,
            nuclei_loss and nuclei_features_loss.
        segmenter: of `build_segmenter`, or None.
    """

    def __init__(self, generator, discriminator, distance, term_weights, segmenter=None):
        super().__init__(name="srgan")
        self.generator = generator
        self.discriminator = discriminator
        self.distance = distance
        self.segmenter = segmenter
        self.term_weights = {**term_weights, "discriminator_loss": 1.0}
        self.trackers = {name: keras.metrics.Mean(name) for name in self.term_weights}

    @property
    def metrics(self):
        return [*super().metrics, *self.trackers.values()]

    def build(self, input_shape):
        self.built = True  # the networks are built before they come here

    def call(self, low_resolution, training=False):
        return self.generator(low_resolution, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the weighted sum of all terms for real `y` and generated `y_pred` (0..255)."""
        real = self.discriminator(y, training=True)
        generated = self.discriminator(ops.stop_gradient(y_pred), training=True)
        terms = {
            "pixel_loss": ops.mean(ops.abs(y_pred - y)) / 255,
            "content_loss": ops.mean(self.distance(y_pred, y)),
            "adversarial_loss": more_real_loss(self._judged(y_pred), ops.stop_gradient(real)),
            "discriminator_loss": more_real_loss(real, generated),
        }
        if self.segmenter:
            names = ("nuclei_loss", "nuclei_features_loss")
            terms |= zip(names, nuclei_losses(self.segmenter, y_pred, y), strict=True)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        return sum(self.term_weights[name] * value for name, value in terms.items())

    def _judged(self, generated):
        """Return the logits of the discriminator with its weights held."""
        held = [ops.stop_gradient(v.value) for v in self.discriminator.trainable_variables]
        state = [v.value for v in self.discriminator.non_trainable_variables]
        return self.discriminator.stateless_call(held, state, generated, training=True)[0]


def negative_psnr(real, generated):
    """Loss of phase 1: minus the mean PSNR of the crops (as in Chen et al. 2022, NAFNet).

    The logarithm makes a decibel worth the same in every crop. Under a mean error, absolute or
    squared, soft crops count for little beside sharp and noisy ones, and x2 came out 1.8 dB under
    bicubic interpolation on images without fine detail.

    Args:
        real, generated: (batch, height, width, 3) in 0..255.

    Returns:
        Scalar in dB, lower = better; not below -58.9: the rounding of 8-bit images is added.
    """
    squared = ops.mean(ops.square(real - generated), axis=(1, 2, 3))
    return 10 / math.log(10) * ops.mean(ops.log((squared + ROUNDING) / 255**2))


def more_real_loss(better, worse):
    """Cross-entropy that is low where `better` logits lie above the mean of the `worse` and back.

    The loss of a relativistic average discriminator (Wang et al. 2018, equation 1) for `better` of
    real and `worse` of generated images, and its generator's (equation 2) the other way round.

    Args:
        better, worse: logits (batch, height, width, 1).

    Returns:
        Scalar; 2 ln 2 where all logits are equal.
    """
    better_by = better - ops.mean(worse)
    worse_by = worse - ops.mean(better)
    return ops.mean(ops.softplus(-better_by)) + ops.mean(ops.softplus(worse_by))


def _residual_block(x, filters: int, name: str):
    """Two 3x3 convolutions with a skip; a small start keeps the trunk near the identity."""
    small = keras.initializers.VarianceScaling(0.1, mode="fan_in")
    y = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_conv1")(x)
    y = layers.Conv2D(filters, 3, padding="same", kernel_initializer=small, name=f"{name}_conv2")(y)
    return layers.Add(name=f"{name}_skip")([x, y])
