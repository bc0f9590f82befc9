"""Varying crops on the device: shift, rotation, mirroring, scale, elastic deformation, grey values, blur, noise.

Image, classes and weights are deformed together by one resampling, as in Ronneberger et al. 2015, section 3.1: the
elastic part has random displacements on a coarse grid, interpolated bicubically to every pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

__all__ = ["AugmentConfig", "Augmenter", "elastic_displacement"]

_LARGEST_SHIFT = 1 / 8  # of a side, so that strokes stay in a small crop
_LARGEST_ELASTIC = 1 / 6  # of the distance of grid points, so that a small crop or a thin volume is not folded
_SPOILT = 0.5  # share of the crops that get noise, and of those that get blur


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly crops are varied.

    Attributes
    ----------
    flips : bool
        Mirror each axis with probability 1/2.
    rotation : float
        Largest angle in the YX plane, degrees.
    scaling : float
        Largest share by which a crop is magnified or reduced.
    shift : float
        Largest shift along each axis, pixels; at most 1/8 of the crop.
    elastic : float
        Standard deviation of the displacements on the coarse grid, pixels; at most 1/6 of the distance of its points.
    elastic_grid : int
        Points of the coarse grid along each axis.
    grey : float
        Largest change of brightness, contrast and log gamma, as a share of the grey range.
    noise : float
        Largest standard deviation of the Gaussian noise, as a share of the grey range; half of the crops have none.
    blur : float
        Largest standard deviation of the Gaussian blur in the YX plane, pixels; half of the crops have none. Planes
        of a volume are not mixed, however far apart they are.
    """

    flips: bool = True
    rotation: float = 180.0
    scaling: float = 0.2
    shift: float = 8.0
    elastic: float = 10.0
    elastic_grid: int = 3
    grey: float = 0.2
    noise: float = 0.0
    blur: float = 0.0

    @property
    def varies(self) -> bool:
        """Whether there is anything to vary."""
        return any(
            (self.flips, self.rotation, self.scaling, self.shift, self.elastic, self.grey, self.noise, self.blur)
        )


def _cubic_matrix(points: int, size: int, device: torch.device) -> torch.Tensor:
    """Weights (size, points) of a Catmull-Rom spline through `points` evenly spread over `size` pixels."""
    place = torch.linspace(0, points - 1, size, device=device)
    distance = (place[:, None] - torch.arange(-1, points + 1, device=device)[None, :]).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    inner = weights[:, 1:-1].clone()  # beyond the ends the spline goes on as it ended
    inner[:, 0] += weights[:, 0]
    inner[:, -1] += weights[:, -1]
    return inner


def elastic_displacement(
    count: int,
    size: tuple[int, ...],
    *,
    sigma: float,
    grid: int,
    generator: torch.Generator,
    device: torch.device,
    part: slice = slice(None),
) -> torch.Tensor:
    """Draw smooth random displacement fields.

    Parameters
    ----------
    count : int
        Number of fields.
    size : tuple of int
        Pixels along each axis.
    sigma : float
        Standard deviation of each component on the coarse grid, pixels.
    grid : int
        Points of the coarse grid along each axis.
    generator : torch.Generator
        Source of random numbers, on the CPU.
    device : torch.device
        Where the fields are made.
    part : slice
        Which of the `count` fields are made; random numbers are drawn for all.

    Returns
    -------
    torch.Tensor
        (count, axis, \\*size) float32, pixels; `part` of it.
    """
    ndim = len(size)
    coarse = torch.randn(count, ndim, *(grid,) * ndim, generator=generator)[part] * sigma
    field = coarse.to(device)
    for side in size:
        matrix = _cubic_matrix(grid, side, device)
        field = torch.tensordot(field, matrix, dims=([2], [1]))  # moves the new axis to the end: after all, ZYX again
    return field.reshape(-1, ndim, *size)


class Augmenter:
    """Applies the same random deformation to image, classes and weights.

    Parameters
    ----------
    config : AugmentConfig
        How strongly to vary.
    ndim : int
        2 or 3.
    seed : int
        Start of the random numbers.
    """

    def __init__(self, config: AugmentConfig, ndim: int, seed: int = 0) -> None:
        self.config = config
        self.ndim = ndim
        self.generator = torch.Generator().manual_seed(seed)
        self._whole: int | None = None
        self._part = slice(None)

    def __call__(
        self,
        image: torch.Tensor,
        classes: torch.Tensor,
        weights: torch.Tensor,
        *,
        whole: int | None = None,
        part: slice = slice(None),
        channels: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Vary a batch.

        Parameters
        ----------
        image : torch.Tensor
            (N, C, \\*crop) float32; mirrored where the deformation looks outside.
        classes : torch.Tensor
            (N, \\*crop) int64, taken from the nearest pixel.
        weights : torch.Tensor
            (N, \\*crop) float32, taken from the nearest pixel; 0 outside.
        whole : int or None
            Crops in the whole batch, of which these are a part; None: these are all.
        part : slice
            Which of the whole batch these are: they are varied as if all were there.
        channels : int or None
            How many channels are grey values; the others are only moved. None: all.

        Returns
        -------
        tuple of torch.Tensor
            The same shapes and dtypes.
        """
        self._whole, self._part = whole, part
        grid = self._sampling_grid(image.shape[0], tuple(image.shape[2:]), image.device)
        image = functional.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
        labels = torch.stack([classes.to(torch.float32), weights], dim=1)
        labels = functional.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=True)
        grey = self._add_noise(self._vary_grey(self._blur(image[:, :channels])))
        image = grey if grey.shape == image.shape else torch.cat([grey, image[:, channels:]], dim=1)
        return image, labels[:, 0].round().to(torch.int64), labels[:, 1].contiguous()

    def _uniform(self, *shape: int) -> torch.Tensor:
        """Draw numbers from -1 to 1 for the whole batch; returns those of these crops, which `shape` begins with."""
        count, *rest = shape
        return torch.rand(self._whole or count, *rest, generator=self.generator)[self._part] * 2 - 1

    def _matrices(self, count: int) -> torch.Tensor:
        """Draw (count, ndim, ndim) maps from places in the result to places in the crop, about the centre."""
        matrix = torch.eye(self.ndim).repeat(count, 1, 1)
        angle = self._uniform(count) * math.radians(self.config.rotation)
        matrix[:, -2, -2], matrix[:, -2, -1] = angle.cos(), -angle.sin()
        matrix[:, -1, -2], matrix[:, -1, -1] = angle.sin(), angle.cos()
        zoom = torch.exp(self._uniform(count) * math.log1p(self.config.scaling))
        if self.config.flips:
            matrix = matrix * torch.where(self._uniform(count, 1, self.ndim) < 0, -1.0, 1.0)
        return matrix * zoom[:, None, None]

    def _sampling_grid(self, count: int, size: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Where each pixel of the result is taken from: (N, \\*crop, ndim) in grid_sample's order and units."""
        ones = (1,) * self.ndim
        halves = [(side - 1) / 2 for side in size]
        matrix = self._matrices(count).to(device)
        most = torch.tensor([min(self.config.shift, side * _LARGEST_SHIFT) for side in size])
        place = (self._uniform(count, self.ndim) * most).to(device).reshape(count, self.ndim, *ones)
        for axis, (side, half) in enumerate(zip(size, halves, strict=True)):  # a matrix product rounds as the batch is
            offset = (torch.arange(side, device=device) - half).reshape(-1, *ones[axis + 1 :])
            place = place + matrix[:, :, axis].reshape(count, self.ndim, *ones) * offset
        if self.config.elastic > 0:
            grid = self.config.elastic_grid
            field = elastic_displacement(
                self._whole or count, size, sigma=1.0, grid=grid, generator=self.generator, device=device,
                part=self._part,
            )  # fmt: skip
            sigma = [min(self.config.elastic, (side - 1) / (grid - 1) * _LARGEST_ELASTIC) for side in size]
            place = place + field * torch.tensor(sigma, device=device).reshape(-1, *ones)
        units = torch.tensor([max(half, 0.5) for half in halves], device=device).reshape(-1, *ones)
        return (place / units).flip(1).movedim(1, -1).contiguous()

    def _vary_grey(self, image: torch.Tensor) -> torch.Tensor:
        strength = self.config.grey
        if strength == 0:
            return image
        shape = (image.shape[0], image.shape[1], *(1,) * self.ndim)
        gamma = torch.exp(self._uniform(*shape) * strength).to(image.device)
        contrast = (1 + self._uniform(*shape) * strength).to(image.device)
        brightness = (self._uniform(*shape) * strength / 2).to(image.device)
        curved = torch.where(image > 0, image.clamp(min=1e-6) ** gamma, image)
        return curved * contrast + brightness

    def _strengths(self, most: float, image: torch.Tensor) -> torch.Tensor:
        """Draw one strength for each crop, up to `most`, and 0 for a part of them: (N, 1, ...)."""
        chance, share = torch.rand(2, self._whole or image.shape[0], generator=self.generator)[:, self._part].unbind()
        strength = share * most * (chance < _SPOILT)
        return strength.reshape(-1, *(1,) * (self.ndim + 1)).to(image.device)

    def _blur(self, image: torch.Tensor) -> torch.Tensor:
        if self.config.blur == 0:
            return image
        sigma = self._strengths(self.config.blur, image).reshape(-1, 1).clamp(min=0.05)  # 0.05: only the pixel itself
        radius = math.ceil(3 * self.config.blur)
        taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / sigma) ** 2)
        taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(math.prod(image.shape[1:-2]), dim=0)
        planes = image.reshape(1, -1, *image.shape[-2:])
        for kernel, border in (
            (taps[:, None, :, None], (0, 0, radius, radius)),
            (taps[:, None, None, :], (radius, radius, 0, 0)),
        ):
            planes = functional.conv2d(functional.pad(planes, border, mode="replicate"), kernel, groups=taps.shape[0])
        return planes.reshape(image.shape)

    def _add_noise(self, image: torch.Tensor) -> torch.Tensor:
        """Add noise that is drawn on the device, from a seed drawn with all other random numbers."""
        if self.config.noise == 0:
            return image
        strength = self._strengths(self.config.noise, image)
        seed = int(torch.randint(2**62, (), generator=self.generator))
        generator = torch.Generator(image.device).manual_seed(seed)
        shape = (self._whole or image.shape[0], *image.shape[1:])
        return image + strength * torch.randn(shape, generator=generator, device=image.device)[self._part]
