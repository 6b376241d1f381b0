"""Renders the bundled sample picture: a lake in the mountains in autumn, with a lighthouse.

Usage: python examples/render_sample.py OUT.jpg [--width 768]

A height field under a sky is seen twice, by the viewer and by the viewer's mirror image in the
water, which is what the lake reflects. Lengths are in units of some 50 m: x to the right, y up,
z away from the viewer, the lake at y = 0. On the picture u goes right and v up from the horizon,
in heights of the picture. Everything is drawn at twice the size and averaged.
"""

import argparse
from functools import cache, partial

import numpy as np
from PIL import Image

SEED = 1889
EYE = 0.42  # the viewer's height above the lake
HORIZON, FOCAL, ASPECT = 0.50, 1.25, 1.5
SUN = np.array([-0.80, 0.46, 0.38], np.float32)  # where the light comes from: low, from the left


@cache
def colour(code):
    """A colour in linear light from its sRGB code."""
    return (np.array(list(bytes.fromhex(code)), np.float32) / 255) ** np.float32(2.2)


SUNLIGHT, SKYLIGHT, LAMP = 2.3 * colour("ffc48a"), 0.5 * colour("7f9ad8"), 3 * colour("ffcf6a")


def mix(a, b, share):
    """Goes from `a` to `b` as `share` goes from 0 to 1."""
    return a + (b - a) * share


def blend(a, b, share):
    """Mixes colours, with one share per pixel."""
    return mix(a, b, np.asarray(share, np.float32)[..., None])


def smooth(low, high, value):
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def lit(paint, sun):
    """Paint in the light: a share of the sun's, and the sky's."""
    return paint * (np.asarray(sun, np.float32)[..., None] * SUNLIGHT + SKYLIGHT)


def sample(grid, x, y):
    """Interpolates in a square grid of a power of two, whose last row and column are the first."""
    side = len(grid) - 1
    left, top = np.floor(x), np.floor(y)
    x, y = x - left, y - top
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    corner = (top.astype(np.int32) & (side - 1)) * (side + 1) + (left.astype(np.int32) & (side - 1))
    upper = mix(np.take(grid, corner), np.take(grid, corner + 1), x)
    return mix(upper, mix(np.take(grid, corner + side + 1), np.take(grid, corner + side + 2), x), y)


NOISE = np.pad(np.random.default_rng(SEED).random((256, 256), np.float32), (0, 1), "wrap")


def fractal(x, y, octaves, *, ridged=False):
    """Sums noise over octaves, each turned so that no grid shows; `ridged` makes crests."""
    total, amplitude, carry = 0.0, 1.0, 1.0
    for octave in range(octaves):
        value = sample(NOISE, x + 17.3 * octave, y - 9.1 * octave)
        if ridged:
            value = (1 - np.sqrt((2 * value - 1) ** 2 + 0.003)) * carry
            carry = np.clip(1.8 * value, 0.1, 1)
        total = total + amplitude * value
        amplitude *= 0.5
        x, y = 1.62 * x - 1.22 * y, 1.22 * x + 1.62 * y
    return total / (2 - 2 * amplitude)


# The land and the sky


def terrain(x, z, octaves=9):
    """The height of the ground above the lake."""
    hills = fractal(0.35 * x + 40, 0.35 * z, octaves - 2)
    peaks = fractal(0.14 * x + 5.2, 0.14 * z + 3.1, octaves, ridged=True)
    rocks = fractal(1.7 * x, 1.7 * z + 3, octaves - 2, ridged=True)
    range_ = smooth(12, 27, z + 0.25 * np.abs(x)) * (6 + 4 * np.exp(-(((x - 7) / 9) ** 2)))
    shore = np.maximum(smooth(9.5, 13, z), smooth(0.5, 3.6, np.abs(x + 0.4) - 0.28 * z))
    cape = np.exp(-(((x - 2.5) / 0.9) ** 2) - ((z - 6.6) / 0.6) ** 2)
    bank = smooth(0.45, -0.15, z - 1.4 + 0.75 * x - 0.2 * np.sin(3 * x)) * (0.28 + 0.12 * hills)
    return peaks * range_ + 1.5 * hills * shore + (0.45 + 0.9 * rocks) * cape + bank - 0.3


def shadow_map(side=256, cell=0.3, left=-45.0):
    """Returns a function: the height up to which a place lies in the shadow of others."""
    z, x = np.mgrid[: side + 1, : side + 1].astype(np.float32)
    heights = terrain(x * cell + left, z * cell, 6)
    top = np.full_like(heights, -9)
    for steps in np.geomspace(1, 45, 24):
        moved = sample(heights, x + steps * SUN[0], z + steps * SUN[2])
        top = np.maximum(top, moved - steps * cell * SUN[1])
    return lambda x, z: sample(top, (x - left) / cell, z / cell)


def ground(x, z, u, shadow):
    """The colour of the ground at the given places."""
    step = 0.002 * z
    height = terrain(x, z)
    slope_x = (terrain(x + step, z) - height) / step
    slope_z = (terrain(x, z + step) - height) / step
    flat = 1 / np.sqrt(slope_x**2 + slope_z**2 + 1)
    sun = np.clip((SUN[1] - slope_x * SUN[0] - slope_z * SUN[2]) * flat, 0, 1)
    sun = sun * smooth(-0.12, 0.12, height - shadow(x, z))
    rough = fractal(6 * x, 6 * z, 6)
    rock = blend(colour("43394a"), colour("b09a88"), rough)
    cover = blend(colour("26360f"), colour("9a9440"), smooth(0.3, 0.7, rough))
    heath = smooth(0.5, 0.7, fractal(1.3 * x, 1.3 * z + 50, 3))
    cover = blend(cover, colour("a8642c"), 0.7 * heath)
    cover = blend(cover, rock, smooth(0.84, 0.66, flat + 0.3 * (rough - 0.5) - 0.06 * height))
    snow = smooth(1.1, 1.9, height + 1.6 * rough - 1.6) * smooth(0.40, 0.60, flat)
    cover = blend(cover, colour("f6f6ff"), snow)
    cover = blend(cover, colour("94806a"), smooth(0.07, 0.02, height))
    return fog(cover * (sun[..., None] * SUNLIGHT + flat[..., None] * SKYLIGHT), z, u)


def fog(colours, z, u):
    """Veils what is `z` away with the light that the air scatters."""
    air = blend(colour("f7b58c"), colour("8fabd6"), smooth(0.0, 0.9, u))
    return blend(colours, air, 0.8 * (1 - np.exp(-((z / 34.0) ** 1.7))))


def sky(u, v):
    """The colour of the sky and its clouds."""
    clear = blend(colour("ffd09a"), colour("f2a08c"), smooth(0, 0.20, v))
    clear = blend(clear, colour("7c9fd0"), smooth(0.12, 0.34, v))
    clear = blend(clear, colour("1f4a8c"), smooth(0.28, 0.52, v))
    glow = np.exp(-((u - 0.28) ** 2) / 0.10 - (v - 0.20) ** 2 / 0.035)
    clear = clear + 0.9 * glow[..., None] * colour("ffb050")
    # A layer of cloud at some height, blown about by noise and lit from the left.
    x, y = 1.1 * (u - 0.75) / (v + 0.22) + 31, 2.1 / (v + 0.22) + 4
    bend = fractal(0.8 * x + 9, 0.8 * y, 4) - 0.5
    x, y = x + 1.1 * bend, y + 0.7 * bend
    cloud = fractal(x, y, 7)
    light = 4.5 * (cloud - fractal(x - 0.16, y - 0.10, 6)) - 0.35 * smooth(0.55, 0.8, cloud)
    tint = blend(colour("5d618f"), colour("fff0dc"), np.clip(0.45 + light, 0, 1))
    warm = smooth(0.5, 0.1, v) * smooth(1.3, 0.2, u)
    tint = blend(tint, 1.4 * tint * colour("ffb27a"), warm)
    return blend(clear, tint, 0.95 * smooth(0.46, 0.60, cloud))


class View:
    """What is above the water, seen from a height."""

    def __init__(self, eye, height, width, shadow):
        self.eye, self.height, self.width = eye, height, width
        self.u, self.v = np.meshgrid(
            (np.arange(width, dtype=np.float32) + 0.5) / height,
            HORIZON - (np.arange(height, dtype=np.float32) + 0.5) / height,
        )
        self.distance = self.trace()
        self.picture = sky(self.u, np.maximum(self.v, 0))
        hit = np.isfinite(self.distance)
        x, z = self.place(hit)
        land = hit.copy()
        land[hit] = (terrain(x, z) > 0.002) | (eye < 0)
        self.wet = hit & ~land
        x, z = self.place(land)
        self.picture[land] = ground(x, z, self.u[land], shadow)

    def place(self, pixels):
        """Where in the world pixels are."""
        z = self.distance[pixels]
        return (self.u[pixels] - ASPECT / 2) / FOCAL * z, z

    def trace(self):
        """The distance of each pixel, from front to back, a column at a time."""
        z = np.geomspace(0.7 if self.eye > 0 else 3, 46, self.height * 3 // 4, dtype=np.float32)
        heights = terrain((self.u[0] - ASPECT / 2) / FOCAL * z[:, None], z[:, None])
        # The water is in the way as land is, but not of who looks from below it.
        heights = np.where(heights < 0, 0 if self.eye > 0 else -99, heights)
        seen = np.maximum.accumulate(FOCAL * (heights - self.eye) / z[:, None], axis=0)
        distance = np.full((self.height, self.width), np.inf, np.float32)
        for column in range(self.width):
            after = np.searchsorted(seen[:, column], self.v[:, column])
            hit = (after > 0) & (after < len(z))
            after = after[hit]
            low, high = seen[after - 1, column], seen[after, column]
            share = (self.v[hit, column] - low) / (high - low)
            distance[hit, column] = mix(z[after - 1], z[after], share)
        return distance

    def box(self, left, right, bottom, top, z):
        """The pixels of a rectangle at distance `z`, and the place of each in the world."""
        scale = FOCAL / z * self.height
        middle, level = ASPECT / 2 * self.height, HORIZON * self.height + self.eye * scale
        first, last = int(max(middle + left * scale, 0)), int(middle + right * scale + 1)
        high, low = int(max(level - top * scale, 0)), int(level - bottom * scale + 1)
        last, low = max(min(last, self.width), first), max(min(low, self.height), high)
        x = (np.arange(first, last, dtype=np.float32) + 0.5 - middle) / scale
        y = (level - np.arange(high, low, dtype=np.float32) - 0.5) / scale
        return np.s_[high:low, first:last], x, y[:, None]

    def put(self, place, width, height, shape):
        """Draws what stands at a place, where nothing is in front of it.

        `shape` takes coordinates, -1 to 1 across and 0 to 1 up, and returns opacity and colour.
        """
        x, y, z = place
        box, across, up = self.box(x - width / 2, x + width / 2, y, y + height, z)
        across, up = np.broadcast_arrays((across - x) * 2 / width, np.clip((up - y) / height, 0, 1))
        opacity, tint = shape(across, up)
        opacity = opacity * (self.distance[box] > 0.98 * z)
        self.picture[box] = blend(self.picture[box], fog(tint, z, self.u[box]), opacity)

    def stroke(self, start, end, z, widths, tint):
        """Draws a line that tapers, over everything so far.

        `tint` is a colour, or a function of the place: -1 to 1 across the line, and in the world.
        """
        (left, right), (low, high) = map(sorted, zip(start, end, strict=True))
        wide = max(widths)
        box, x, y = self.box(left - wide, right + wide, low - wide, high + wide, z)
        right, up, to_x, to_y = x - start[0], y - start[1], end[0] - start[0], end[1] - start[1]
        along = ((right * to_x + up * to_y) / (to_x**2 + to_y**2 + 1e-9)).clip(0, 1)
        right, up, half = right - along * to_x, up - along * to_y, mix(widths[0], widths[1], along)
        opacity = ((half - np.hypot(right, up)) * FOCAL / z * self.height + 0.5).clip(0, 1)
        tint = tint(right / half, x, y) if callable(tint) else tint
        self.picture[box] = blend(self.picture[box], tint, opacity)


# What stands around the lake


def spruce(seed, a, b):
    """A spruce: tiers of branches, lit from the left."""
    grain = sample(NOISE, 9 * a + 31 * seed, 26 * b + 7 * seed)
    tier = (11 * b + 0.8 * np.abs(a) + seed) % 1
    wide = np.where(b < 0.05, 0.07, (1 - b) ** 0.85 * (0.66 - 0.3 * tier + 0.5 * grain))
    sun = np.clip(0.02 - 0.75 * a / (wide + 0.05) - 0.5 * tier + 0.8 * grain, 0.02, 1)
    paint = mix(colour("1d3a1c"), colour("4c5c22"), np.float32(seed % 1))
    return smooth(wide, wide - 0.06, np.abs(a)), lit(paint, sun)


def lighthouse(a, b):
    """A white tower with red bands, a gallery and a burning lamp."""
    tower, dome = b < 0.765, b > 0.90
    wide = np.where(tower, mix(0.46, 0.27, b), np.where(b < 0.80, 0.44, 0.24))
    wide = np.where(dome, 0.30 * np.sqrt(np.clip((1 - b) / 0.1, 0, 1)), wide)
    paint = blend(colour("f2ece0"), colour("a92a20"), 5.2 * b % 1 > 0.52)
    paint = blend(colour("3c3038"), paint, tower)
    grain = 0.8 + 0.3 * sample(NOISE, 14 * a, 60 * b)
    tint = lit(paint * grain[..., None], np.clip(0.35 - 0.75 * a / (wide + 1e-3), 0, 1))
    lamp = (b > 0.815) & ~dome & (np.abs(9 * a % 1 - 0.5) < 0.40)
    window = tower & (np.abs(a) < 0.05) & (5.2 * b % 1 < 0.2)
    return np.abs(a) < wide, blend(tint, LAMP, lamp | window)


def house(a, b):
    """A cottage: a gabled front, a long side, a tiled roof, a chimney, windows with light."""
    gable, grain = np.abs(a + 0.58), sample(NOISE, 30 * a, 40 * b)
    front = (gable < 0.33) & (b < 0.85 - 1.25 * gable)
    wall = front | ((np.abs(a - 0.32) < 0.57) & (b < 0.46))
    roof = (np.abs(b - 0.645) < 0.225) & (a > 0.12 - 0.8 * b) & (a < 1 - 0.12 * b)
    roof |= (gable < 0.40) & (b < 0.91 - 1.25 * gable) & (b > 0.85 - 1.25 * gable)
    chimney = (np.abs(a - 0.45) < 0.06) & (b > 0.8)
    paint = blend(colour("d9c7a8"), colour("9c3a26"), roof)
    paint = blend(paint, colour("7a5a4a"), chimney)
    paint = blend(paint, colour("3a2018"), (np.abs(a + 0.42) < 0.05) & (b < 0.3))
    paint = paint * (0.7 + 0.5 * grain * np.where(roof, 22 * b % 1, 1))[..., None]
    tint = lit(paint, np.where(front, 0.85, np.where(roof | chimney, 0.6, 0.28)))
    pane = (np.abs(2.6 * a % 1 - 0.55) < 0.22) & (np.abs(b - 0.26) < 0.09) & (np.abs(a - 0.3) < 0.5)
    pane |= (gable < 0.09) & (np.abs(b - 0.30) < 0.10)
    return wall | roof | chimney, blend(tint, LAMP, pane & ~roof)


def boat(a, b):
    """A boat under sail."""
    hull = (b > 0.11 * np.abs(a + 0.1) ** 4) & (b < 0.10 + 0.05 * a * a) & (np.abs(a) < 0.93)
    main = (b > 0.17) & (a > 0.02) & (a < 0.02 + 0.62 * (1 - b) ** 0.9 + 0.06 * np.sin(3.1 * b))
    jib = (b > 0.15) & (b < 0.88) & (a < -0.03) & (a > 0.83 * b - 0.73)
    mast = (np.abs(a) < 0.022) & ~main & ~jib
    paint = blend(colour("fbf3e4"), colour("e2522e"), main & (np.abs(b - 0.67) < 0.05))
    paint = blend(paint, colour("6a3420"), hull | mast)
    light = np.where(main, 0.75 - 0.5 * a, 0.9 + 0.35 * a) - hull * (0.3 + 0.7 * a)
    return hull | main | jib | mast, lit(paint, np.clip(light + 0.06 * np.sin(40 * b), 0, 1))


def things(rng):
    """All that stands around the lake, from far to near, as the arguments of `View.put`."""
    on_cape = terrain(np.array([2.45, 2.94]), np.array([6.6, 6.5]))
    found = [
        ((2.45, on_cape[0] - 0.06, 6.6), 0.52, 1.6, lighthouse),
        ((2.94, on_cape[1] - 0.10, 6.5), 0.90, 0.5, house),
        ((0.45, -0.02, 5.2), 0.50, 0.85, boat),
    ]
    z = rng.uniform(4, 16, 9000).astype(np.float32)
    x = rng.uniform(-0.64, 0.64, 9000).astype(np.float32) * z
    y, tall = terrain(x, z), rng.uniform(0.28, 0.6, 9000)
    wood = (y > 0.07) & (y < 2.0) & (np.abs(terrain(x + 0.1, z) - y) < 0.09)
    wood &= fractal(0.7 * x + 3, 0.7 * z + 8, 3) > 0.5
    wood &= (np.abs(x - 2.7) > 0.75) | (np.abs(z - 6.5) > 0.9)
    for right, up, away, size in np.stack([x, y - 0.02, z, tall], axis=1)[wood].tolist():
        found.append(((right, up, away), 0.42 * size, size, partial(spruce, 7.7 * right)))
    return sorted(found, key=lambda thing: -thing[0][2])


# The bank in front


def branches(rng, x, y, angle, length, width):
    """The pieces of a tree as (start, end, widths), the thickest first."""
    found = []
    for _ in range(4):
        angle += rng.normal(-0.03 * angle, 0.12)
        end = x + length / 4 * np.sin(angle), y + length / 4 * np.cos(angle)
        found.append(((x, y), end, (width, 0.92 * width)))
        (x, y), width = end, 0.92 * width
    for turn in rng.uniform([-0.9, -0.3, 0.25], [-0.25, 0.3, 0.9]):
        if width > 0.012 or (width > 0.0012 and rng.random() < 0.72):
            longer = length * rng.uniform(0.62, 0.88)
            found += branches(rng, x, y, angle + turn, longer, 0.62 * width)
    return found


def bark(side, x, y):
    """The bark of a round branch, lit from the left."""
    grain = sample(NOISE, 130 * x, 22 * y) + sample(NOISE, 40 * x, 60 * y)
    paint = colour("7c6450") * (0.25 + 0.6 * grain[..., None])
    return lit(paint, np.clip(0.35 - 0.6 * side, 0, 1))


def draw_tree(view, rng, z=1.75):
    """Draws the tree on the bank."""
    wood = branches(rng, -0.76, -0.02, 0.03, 0.32, 0.044)
    for start, end, widths in wood:
        view.stroke(start, end, z, widths, bark)
    twigs = np.array([end for _, end, widths in wood if widths[0] < 0.006])
    count = 7000
    offset = rng.normal(0, 0.028, (count, 2))
    spots = twigs[rng.integers(len(twigs), size=count)] + offset
    reds = fractal(6 * spots[:, 0], 6 * spots[:, 1], 3) + rng.normal(0, 0.13, count)
    shine = np.clip(0.45 + (offset[:, 1] - offset[:, 0]) / 0.09, 0.04, 1)
    shine *= np.linspace(0.1, 1, count)
    for (x, y), red, sun in zip(spots, reds, shine, strict=True):
        turn = rng.uniform(0, 6.3)
        end = x + 0.011 * np.sin(turn), y + 0.011 * np.cos(turn)
        paint = mix(colour("e0a826"), colour("a83a12"), smooth(0.3, 0.75, red))
        view.stroke((x, y), end, z, (0.0054, 0.0018), lit(paint, sun * rng.uniform(0.5, 1.0)))


def draw_grass(view, rng):
    """Draws the grass and the flowers of the bank, from far to near."""
    z = -np.sort(-rng.uniform(0.85, 2.6, 11000).astype(np.float32))
    x = rng.uniform(-0.8, 0.62, len(z)).astype(np.float32) * z
    y = terrain(x, z)
    straw = smooth(0.35, 0.8, fractal(4 * x, 4 * z, 3) + rng.normal(0, 0.1, len(z)))
    sunny = smooth(0.3, 0.6, fractal(2.5 * x + 60, 2.5 * z, 3)) * smooth(0.7, 1.4, z)
    blades = np.stack([x, y, z, straw, sunny], axis=1, dtype=np.float32)[y > 0.01]
    for x, y, z, straw, sunny in blades:
        tall, paint = rng.uniform(0.03, 0.10), mix(colour("2f5a18"), colour("c0a444"), straw)
        lean, sun = rng.normal(0.3, 0.4) * tall, (0.15 + 0.85 * sunny) * rng.uniform(0.2, 1)
        middle, end = (x + 0.3 * lean, y + 0.6 * tall), (x + lean, y + tall)
        view.stroke((x, y - 0.01), middle, z, (0.0024, 0.0019), lit(0.5 * paint, 0.3 * sun))
        view.stroke(middle, end, z, (0.0019, 0.0003), lit(paint, sun))
        if rng.random() > 0.035:
            continue
        petals = colour(("d8262a", "f4f0ff", "f0b020")[rng.integers(3)])
        for turn in np.arange(5) * 1.257 + rng.uniform(0, 1):
            tip = end[0] + 0.008 * np.sin(turn), end[1] + 0.005 * np.cos(turn)
            paint = lit(petals * rng.uniform(0.6, 1), 0.2 + 0.6 * sunny)
            view.stroke(end, tip, z, (0.002, 0.0048), paint)
        view.stroke(end, end, z, (0.0028, 0.0028), lit(colour("8a4a10"), 0.4))


def reflect(view, mirrored):
    """Fills the lake of `view` with what its mirror image sees, moved about by the waves."""
    x, z = view.place(view.wet)
    calm = 0.15 + smooth(0.35, 0.6, fractal(0.8 * x, 0.5 * z + 7, 3))
    wave = (fractal(9 * x, 26 * z, 4) - 0.5) * calm
    shift = wave * np.clip(2 / z, 0.05, 1)
    rows = (HORIZON + view.v[view.wet] - 0.10 * shift) * mirrored.height
    columns = (view.u[view.wet] + 0.02 * shift) * mirrored.height
    rows, columns = rows.clip(0, mirrored.height - 1), columns.clip(0, mirrored.width - 1)
    image = mirrored.picture[rows.astype(int), columns.astype(int)]
    grazing = np.clip(1 - 1.1 * EYE / np.sqrt(x * x + z * z + EYE**2) - 0.5 * wave, 0, 1) ** 2
    view.picture[view.wet] = blend(colour("0c3340"), 0.92 * image, 0.25 + 0.75 * grazing)


def render(width=768):
    """Renders the scene `width` pixels wide, as sRGB in [0, 1] of shape (height, width, 3)."""
    height = round(width / ASPECT)
    shadow = shadow_map()
    view = View(EYE, 2 * height, 2 * width, shadow)
    mirrored = View(-EYE, height, width, shadow)
    scene = things(np.random.default_rng(SEED))
    for thing in scene:
        mirrored.put(*thing)
    reflect(view, mirrored)
    for thing in scene:
        view.put(*thing)
    draw_tree(view, np.random.default_rng(6))  # of several, the best grown
    draw_grass(view, np.random.default_rng(SEED))
    picture = view.picture.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    return (1 - np.exp(-1.35 * picture)) ** (1 / 2.2)


def main():
    """Reads the command line, renders, and saves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output")
    parser.add_argument("--width", type=int, default=768)
    options = parser.parse_args()
    picture = Image.fromarray((255 * render(options.width) + 0.5).astype(np.uint8))
    picture.save(options.output, quality=90, optimize=True)


if __name__ == "__main__":
    main()
