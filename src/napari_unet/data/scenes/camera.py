"""How an ideal picture becomes a recorded one: blur, uneven light, noise, contrast, and the faults of devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.synthetic import smooth_noise

__all__ = ["Camera"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The settings of a device, the same for all images of an experiment.

    Attributes
    ----------
    blur : float
        Standard deviation of the blur in pixels.
    unevenness : float
        How strongly the light varies over the image.
    shot, read : float
        Standard deviation of the noise that grows with the root of the brightness, and of that which does not.
    grain : float
        Over how many pixels the noise is correlated; 0: each pixel has its own.
    gamma : float
        Exponent of the brightness.
    inverted : bool
        Dark for bright.
    gain, offset : float
        Contrast and brightness, within 0..1.
    stripes : float
        Strength of lines along the last axis.
    block : int
        Side of the squares whose detail is flattened, as strong compression does; 0: none.
    """

    blur: float = 0.0
    unevenness: float = 0.0
    shot: float = 0.0
    read: float = 0.0
    grain: float = 0.0
    gamma: float = 1.0
    inverted: bool = False
    gain: float = 1.0
    offset: float = 0.0
    stripes: float = 0.0
    block: int = 0

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        blur: tuple[float, float] = (0.3, 2.0),
        noise: tuple[float, float] = (0.01, 0.12),
        unevenness: float = 0.35,
        inverted: float = 0.15,
        faint: float = 0.5,
        faults: float = 0.04,
    ) -> Self:
        """Draw a device: ranges of blur and noise, and the probabilities of inverted, faint and faulty images."""
        noise_level = log_uniform(rng, *noise)
        shot_share = rng.uniform(0, 1)
        gain = rng.uniform(0.3, 0.8) if chance(rng, faint) else rng.uniform(0.8, 1.05)
        return cls(
            blur=log_uniform(rng, *blur),
            unevenness=rng.uniform(0, unevenness) if chance(rng, 0.7) else 0.0,
            shot=noise_level * shot_share,
            read=noise_level * (1 - shot_share) * 0.6 + 0.003,
            grain=rng.uniform(0.6, 1.6) if chance(rng, 0.25) else 0.0,
            gamma=log_uniform(rng, 0.6, 1.6),
            inverted=chance(rng, inverted),
            gain=gain,
            offset=rng.uniform(0, max(0.02, 0.9 - gain)) if chance(rng, 0.6) else 0.0,
            stripes=log_uniform(rng, 0.01, 0.05) if chance(rng, faults) else 0.0,
            block=8 if chance(rng, faults) else 0,
        )

    def take(self, rng: np.random.Generator, signal: FloatArray) -> FloatArray:
        """Take a picture of a signal (C, \\*space) of about 0..1; return (C, \\*space) float32 in 0..1."""
        space = signal.shape[1:]
        seen = np.stack([self._blurred(channel, rng.uniform(0.85, 1.15)) for channel in signal])
        if self.unevenness:
            light = smooth_noise(space, 0.6 * max(space), rng)
            seen *= np.exp(np.clip(self.unevenness * light, -1.2, 0.8))
        seen = np.clip(seen, 0, 1.5)
        if self.gamma != 1:
            np.power(seen, self.gamma, out=seen)
        if self.inverted:
            seen = 1 - np.minimum(seen, 1)
        seen *= self.gain * rng.uniform(0.92, 1.08)
        seen += self.offset * rng.uniform(0.9, 1.1)
        seen += self._noise(rng, seen)
        if self.stripes:
            seen += self.stripes * rng.standard_normal((space[-2], 1), dtype=np.float32)
        if self.block:
            seen = self._compressed(seen)
        return np.clip(seen, 0, 1, out=seen)

    def _blurred(self, channel: FloatArray, focus: float) -> FloatArray:
        if self.blur < 0.35:
            return channel.astype(np.float32, copy=True)
        sigma = [self.blur * focus * 0.5] * (channel.ndim - 2) + [self.blur * focus] * 2
        blurred: FloatArray = ndimage.gaussian_filter(channel, sigma, truncate=2.5, output=np.float32)
        return blurred

    def _noise(self, rng: np.random.Generator, seen: FloatArray) -> FloatArray:
        noise = rng.standard_normal(seen.shape, dtype=np.float32)
        if self.grain:
            for channel in noise:
                ndimage.gaussian_filter(channel, self.grain, truncate=2, output=channel)
            noise *= np.float32(1.5 * self.grain)
        noise *= self.read + self.shot * np.sqrt(np.clip(seen, 0.02, None))
        return noise

    def _compressed(self, seen: FloatArray) -> FloatArray:
        """Weaken the fine detail of each square of pixels."""
        size = [1] * (seen.ndim - 2) + [self.block] * 2
        rows, columns = (np.arange(n) // self.block * self.block for n in seen.shape[-2:])
        means = ndimage.uniform_filter(seen, size, origin=[0] * (seen.ndim - 2) + [-(self.block // 2)] * 2)
        held: FloatArray = seen + 0.3 * (means[..., rows[:, np.newaxis], columns] - seen)
        return held
