"""Pure array operations that know nothing of style transfer."""

from nstjax.ops.convolution import conv3x3, transform_frozen
from nstjax.ops.downsample import conv3x3_stride2
from nstjax.ops.few_channels import conv_few_inputs, conv_few_outputs
from nstjax.ops.heap import tidy_after_compilations
from nstjax.ops.matrix_root import matrix_square_root, trace_of_square_root
from nstjax.ops.moments import channel_moments
from nstjax.ops.padding import reflect_pad
from nstjax.ops.pooling import max_pool2x2
from nstjax.ops.programs import Program, compiler_options
from nstjax.ops.rowwise import (
    Rowwise,
    by_rows,
    cached,
    crop,
    doubled,
    instance_moments,
    materialize,
    normalize,
    over_windows,
    pointwise,
    reflect,
    reflect_to,
)
from nstjax.ops.shuffle import pixel_shuffle, pixel_unshuffle
from nstjax.ops.tiles import map_tiles
from nstjax.ops.upsample import transposed_conv3x3, upsample_conv3x3

__all__ = [
    "Program",
    "Rowwise",
    "by_rows",
    "cached",
    "channel_moments",
    "compiler_options",
    "conv3x3",
    "conv3x3_stride2",
    "conv_few_inputs",
    "conv_few_outputs",
    "crop",
    "doubled",
    "instance_moments",
    "map_tiles",
    "materialize",
    "matrix_square_root",
    "max_pool2x2",
    "normalize",
    "over_windows",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pointwise",
    "reflect",
    "reflect_pad",
    "reflect_to",
    "tidy_after_compilations",
    "trace_of_square_root",
    "transform_frozen",
    "transposed_conv3x3",
    "upsample_conv3x3",
]
