"""The bound that keeps the discriminator from winning: no layer amplifies what it sees by much.

A discriminator that may grow as steep as it likes tells real from generated with certainty, and
its gradient no longer leads anywhere (Miyato et al. 2018, spectral normalization). Here each kernel
is projected back after every step (Gouk et al. 2021, doi 10.1007/s10994-020-05929-w), which unlike
a layer that divides by its norm is the same for all backends of Keras.
"""

import keras
from keras import ops

ROUNDING = 1e-4  # of the norm: a kernel that is held already stays as it is
SQUARINGS = 5  # the bound is at most 4.5 % above the norm for 256 equal singular values


class SpectralBound(keras.constraints.Constraint):
    """Keeps the spectral norm of a convolution's kernel, as a matrix, at 1 or below.

    A 3x3 convolution may then still amplify up to threefold, as each pixel is seen nine times.
    """

    def __call__(self, kernel):
        norm = spectral_norm(kernel)
        return kernel / ops.where(norm > 1 + ROUNDING, norm, 1.0)


def spectral_norm(kernel):
    """Return an upper bound of the largest singular value of a kernel (..., inputs, outputs).

    For the Gram matrix G of n rows, |G^p|_F^(1/p) falls from |G|_F to the largest eigenvalue as p
    grows; p doubles with each squaring. It needs no state, as a power iteration does.
    """
    matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
    if matrix.shape[0] < matrix.shape[1]:
        matrix = ops.transpose(matrix)
    power, exponent, log_norm = ops.matmul(ops.transpose(matrix), matrix), 1.0, 0.0
    for _ in range(SQUARINGS):
        size = ops.sqrt(ops.sum(ops.square(power))) + 1e-12
        log_norm += ops.log(size) / exponent
        power, exponent = ops.matmul(power / size, power / size), 2 * exponent
    log_norm += ops.log(ops.sqrt(ops.sum(ops.square(power))) + 1e-12) / exponent
    return ops.exp(log_norm / 2)
