"""Two trained networks of the same layers become one between them."""

import keras


def blend(trained: keras.Model, other: keras.Model, share: float):
    """Interpolate weights in place: `share` of the trained ones, the rest of the other's.

    Between an adversarial and a pretrained generator this keeps most of the sharpness of the one
    and drops most of the invented texture of both (Wang et al. 2018, ESRGAN). Between a fine-tuned
    network and the one that it started from it keeps most of what either knows (Wortsman et al.
    2022, doi 10.1109/CVPR52688.2022.00780).
    """
    pairs = zip(trained.get_weights(), other.get_weights(), strict=True)
    trained.set_weights([share * ours + (1 - share) * theirs for ours, theirs in pairs])
