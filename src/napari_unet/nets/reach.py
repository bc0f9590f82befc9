"""How far a network looks: which pixels of the input a piece of its output depends on, read off the network itself.

The network is run once on a stand-in for an image, a `Field`. It holds no pixels but notes what each layer does to
places: a 3x3 convolution needs one pixel more on each side, a pooling needs the two pixels of its cell, and so on. A
piece of the output is then followed backwards along all paths. So no network states its reach by hand, and a new layer
that this module does not know is an error when the network is built, not a seam in somebody's result.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["Field", "Reach", "look_everywhere", "measure_reach"]

Span = tuple[int, int]  # first and last place along an axis
Rule = Callable[[Span], Span]  # from places of a result to the places that they depend on


@dataclass(frozen=True)
class Reach:
    """What a tile of a network's output depends on.

    Attributes
    ----------
    before, after : int
        Pixels beyond a tile that begins and ends at multiples of the divisor: exactly these matter, no fewer.
    local : bool
        Whether nothing but these matters. It does not hold where a layer measures or mixes the whole map.
    """

    before: int
    after: int
    local: bool

    def halo(self, divisor: int) -> tuple[int, int]:
        """Round up to multiples of the divisor, at which tiles begin and end."""
        return -(-self.before // divisor) * divisor, -(-self.after // divisor) * divisor


def measure_reach(network: nn.Module, ndim: int, in_channels: int, divisor: int) -> Reach:
    """Follow a tile of the output of a padded network back to the input.

    All axes are treated alike, so kernels and strides must be equal along them.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (N, in_channels, \\*space) to (N, class, \\*space).
    ndim : int
        Number of spatial axes.
    in_channels : int
        Channels of the input.
    divisor : int
        Sides of the input must be multiples of this; so is the tile's.

    Examples
    --------
    >>> twice = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 5, padding=2))
    >>> measure_reach(twice, ndim=2, in_channels=1, divisor=1)
    Reach(before=3, after=3, local=True)
    """
    image = Field(ndim, in_channels, 2 * divisor)
    training = network.training
    network.eval()
    output = network(image)
    network.train(training)
    if not isinstance(output, Field) or output.side != image.side:
        raise TypeError(f"Expected {type(network).__name__} to keep the size of its input.")
    first, last = _follow_back(output, (0, divisor - 1), image)
    return Reach(max(0, -first), max(0, last - (divisor - 1)), output.local)


def look_everywhere(x: torch.Tensor, look: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply `look`, in which every place of the map (N, C, \\*space) depends on every other, and shapes stay.

    A layer of this kind says so by going through this function.
    """
    if has_torch_function((x,)):
        result: torch.Tensor = handle_torch_function(look_everywhere, (x,), x, look)
        return result
    return look(x)


class Field:
    """Stands for a feature map while a network is traced.

    Parameters
    ----------
    ndim : int
        Number of spatial axes.
    channels, side : int
        Size: (1, channels, side, side, ...).
    sources : sequence of (Field, callable)
        What it was made from, and which places of that each span of places depends on.
    local : bool
        Whether all layers so far looked at a neighbourhood only.
    """

    _count = itertools.count()

    def __init__(
        self,
        ndim: int,
        channels: int,
        side: int,
        sources: Sequence[tuple[Field, Rule]] = (),
        *,
        local: bool = True,
    ) -> None:
        self.space, self.channels, self.side = ndim, channels, side
        self.sources = tuple(sources)
        self.local: bool = local and all(source.local for source, _ in self.sources)
        self.number = next(self._count)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Field:
        name = function.__name__.removesuffix("2d").removesuffix("3d")
        if name in _UNCHANGED:
            return arguments[0].then()  # type: ignore[no-any-return]
        if name in _WHOLE_MAP:
            return arguments[0].then(local=False)  # type: ignore[no-any-return]
        if name not in _LAYERS:
            raise TypeError(f"What {function.__name__} does to places is not known; add it to napari_unet.nets.reach.")
        return _LAYERS[name](*arguments, **(options or {}))

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the map, (1, channels, \\*space)."""
        return 1, self.channels, *(self.side,) * self.space

    @property
    def ndim(self) -> int:
        """Number of axes, with those of batch and channels."""
        return self.space + 2

    def dim(self) -> int:
        """Return `ndim`."""
        return self.ndim

    def size(self, axis: int) -> int:
        """Return one entry of `shape`."""
        return self.shape[axis]

    def then(
        self, rule: Rule | None = None, *, channels: int | None = None, side: int | None = None, local: bool = True
    ) -> Field:
        """Return the map after a layer."""
        return Field(
            self.space, channels or self.channels, side or self.side, [(self, rule or _same_places)], local=local
        )

    def __add__(self, other: Field) -> Field:
        return _join(self, other, max(self.channels, other.channels))

    def __mul__(self, other: Field) -> Field:
        return self + other

    def __getitem__(self, index: tuple[Any, ...]) -> Field:
        kept = (part is ... or part.indices(self.side) == (0, self.side, 1) for part in index)
        if not all(kept):
            raise TypeError("A padded network cuts nothing off.")
        return self

    def mean(self, dim: int, keepdim: bool = False) -> Field:
        """Average over the channels."""
        if dim != 1 or not keepdim:
            raise TypeError("Only channels can be averaged without a loss of places.")
        return self.then(channels=1)


def _follow_back(output: Field, span: Span, image: Field) -> Span:
    """Collect what `span` of the output depends on in the image; later maps are looked at before earlier ones."""
    needed = {output.number: span}
    waiting = [(-output.number, output)]
    while waiting:
        _, node = heapq.heappop(waiting)
        if node is image:
            break
        for source, rule in node.sources:
            first, last = rule(needed[node.number])
            if source.number in needed:
                low, high = needed[source.number]
                needed[source.number] = min(first, low), max(last, high)
            else:
                needed[source.number] = first, last
                heapq.heappush(waiting, (-source.number, source))
    return needed[image.number]


def _same_places(span: Span) -> Span:
    return span


def _join(a: Field, b: Field, channels: int) -> Field:
    if a.side != b.side:
        raise TypeError(f"Maps of {a.side} and {b.side} pixels can't be joined.")
    return Field(a.space, channels, a.side, [(a, _same_places), (b, _same_places)])


def _cat(fields: Sequence[Field], dim: int = 0) -> Field:
    if dim != 1:
        raise TypeError("Only channels can be joined.")
    joined = fields[0].then()
    for other in fields[1:]:
        joined = _join(joined, other, joined.channels + other.channels)
    return joined


def _one(value: int | Sequence[int]) -> int:
    """Take the number that stands for all axes."""
    numbers = {value} if isinstance(value, int) else set(value)
    if len(numbers) != 1:
        raise TypeError(f"Expected the same number for each axis, but got {value}.")
    return int(numbers.pop())


def _window(x: Field, kernel: int, stride: int, padding: int, dilation: int, channels: int | None = None) -> Field:
    """Place i of the result depends on the places i * stride - padding + k * dilation."""
    width = dilation * (kernel - 1)

    def rule(span: Span) -> Span:
        return span[0] * stride - padding, span[1] * stride - padding + width

    return x.then(rule, channels=channels, side=(x.side + 2 * padding - width - 1) // stride + 1)


def _conv(
    x: Field, weight: torch.Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Field:  # fmt: skip
    kernel = _one(tuple(weight.shape[2:]))
    return _window(x, kernel, _one(stride), _one(padding), _one(dilation), int(weight.shape[0]))


def _max_pool(
    x: Field, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    **options: Any,
) -> Field:  # fmt: skip
    if ceil_mode:
        raise TypeError("A pooling that rounds up depends on the size of the map.")
    step = kernel_size if stride is None else stride
    return _window(x, _one(kernel_size), _one(step), _one(padding), _one(dilation))


def _avg_pool(
    x: Field,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *options: Any,
) -> Field:
    return _max_pool(x, kernel_size, stride, padding, 1, ceil_mode)


def _conv_transpose(
    x: Field, weight: torch.Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Field:  # fmt: skip
    kernel, step, pad = _one(tuple(weight.shape[2:])), _one(stride), _one(padding)
    width = _one(dilation) * (kernel - 1)

    def rule(span: Span) -> Span:  # place o of the result is fed by i where o = i * stride - padding + k * dilation
        return -(-(span[0] + pad - width) // step), (span[1] + pad) // step

    side = (x.side - 1) * step - 2 * pad + width + _one(output_padding) + 1
    return x.then(rule, channels=int(weight.shape[1]) * groups, side=side)


def _interpolate(
    x: Field, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    **options: Any,
) -> Field:  # fmt: skip
    if scale_factor is None or size is not None or align_corners or mode not in ("bilinear", "trilinear"):
        raise TypeError("Only linear interpolation by a factor, without aligned corners, is the same wherever it is.")
    factor = int(_one(scale_factor) if isinstance(scale_factor, tuple) else scale_factor)

    def rule(span: Span) -> Span:  # place o lies at (o + 0.5) / factor - 0.5, between two places or on one
        low, high = 2 * span[0] + 1 - factor, 2 * span[1] + 1 - factor
        return low // (2 * factor), -(-high // (2 * factor))

    return x.then(rule, side=x.side * factor)


_UNCHANGED = {"batch_norm", "relu", "prelu", "leaky_relu", "sigmoid", "dropout", "softmax"}
_WHOLE_MAP = {"instance_norm", "group_norm", "look_everywhere"}
_LAYERS: dict[str, Callable[..., Field]] = {
    "cat": _cat,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "interpolate": _interpolate,
}
