"""Pure array operations that know nothing of style transfer."""

from nstjax.ops.convolution import conv3x3

__all__ = ["conv3x3"]
