"""What all networks have in common: what training and prediction may ask of them."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn

from napari_unet.data.place import CENTRES, PlaceLogits
from napari_unet.errors import InputError
from napari_unet.nets.blocks import center_crop, he_init_, smooth
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.grey_features import GREY_REACH, tree_features
from napari_unet.nets.place import enclosure_logits, place_logits
from napari_unet.nets.reach import measure_reach
from napari_unet.nets.trees import Trees, tree_logits

__all__ = ["SegmentationNetwork"]

_TREE_PARTS = ("tree_questions", "tree_thresholds", "tree_values")


class SegmentationNetwork(nn.Module):
    """Base of the networks: a last feature map, `features`, and a `head` that turns it into logits.

    A subclass makes its layers, calls `complete` at the end of ``__init__``, and writes `features`.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels and classes.

    Attributes
    ----------
    divisor : int
        Tiles must begin at multiples of this many pixels, for the pooling to fall on the same places.
    halo : tuple of int
        Pixels before and after a tile that the network must see for an exact result, multiples of `divisor`. An
        unpadded network needs them as input.
    exact_tiling : bool
        Whether a tile with its halo gives what the whole image gives. Not so where a layer looks at the whole map:
        instance and group normalisation, attention between all places. The prediction then takes the largest
        tiles that it can, lets them overlap, and blends them.
    head : torch.nn.Module
        1x1 convolution from the last feature map to the classes.
    encoder : tuple of str
        Names of the parts that make up the contracting path, down to the deepest map.
    place : torch.Tensor or None
        (class, B) float32: what the place of a pixel, and how far it is enclosed, adds to its logits, see `set_place`.
    trees : Trees or None
        What ask for the grey values around a pixel, and add to its logits, see `set_trees`.
    """

    head: nn.Module
    place: torch.Tensor | None
    tree_questions: torch.Tensor | None
    tree_thresholds: torch.Tensor | None
    tree_values: torch.Tensor | None
    encoder: tuple[str, ...] = ("down",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.divisor = 2**config.depth
        self.halo = (0, 0)
        self.exact_tiling = config.norm not in ("instance", "group")
        self._frozen = False
        for name in ("place", *_TREE_PARTS):
            self.register_buffer(name, None)

    def complete(self) -> None:
        """Start the weights, and measure how far the network looks (if it is padded)."""
        he_init_(self)
        if self.config.padding == "same":
            reach = measure_reach(self, self.config.ndim, self.config.in_channels, self.divisor)
            self.halo, self.exact_tiling = reach.halo(self.divisor), reach.local

    def forward(self, x: torch.Tensor, *, auxiliary: bool = False) -> torch.Tensor:
        """Map an image to logits.

        Parameters
        ----------
        x : torch.Tensor
            (N, C, \\*space). For a padded network each side must be a multiple of `divisor`. Where the place counts,
            further channels, at least as many as `surroundings`, tell where a pixel lies:
            `napari_unet.data.intensity.FrameReader` makes them.
        auxiliary : bool
            Whether to return the logits of the inner results, too, for deep supervision: a training loop that finds
            ``config.deep_supervision`` asks for them and takes the mean of the losses.

        Returns
        -------
        torch.Tensor
            (N, class, \\*space); with `auxiliary` (result, N, class, \\*space), the network's own result first.

        Raises
        ------
        InputError
            If the network can't take that size.
        """
        logits = self.head_logits(self.features(self.grey_values(x)))
        given = self.given_logits(x, tuple(logits.shape[2:]))
        if given is not None:
            logits = logits + given
        return logits.unsqueeze(0) if auxiliary else logits

    def head_logits(self, maps: torch.Tensor) -> torch.Tensor:
        """Return what the head makes of the last feature map (N, class, \\*space), smoothed if the config says so."""
        return self.smoothed(self.head(maps))

    def smoothed(self, logits: torch.Tensor) -> torch.Tensor:
        """Smooth logits (N, class, \\*space) that are made of the last feature map, if the config says so."""
        return smooth(logits) if self.config.smooth_logits else logits

    def grey_values(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels of the image, without those that tell where a pixel lies, see `forward`."""
        return x if self.place is None else x[:, : self.config.in_channels]

    def given_logits(self, x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor | None:
        """Return what the places in `x`, see `forward`, and the trees add to the logits (N, class, \\*size).

        None: neither counts.

        Raises
        ------
        InputError
            If the place counts, but `x` does not tell it.
        """
        place, trees = self._logits_of_place(x, size), self.trees
        if trees is None:
            return place
        with torch.no_grad():
            asked = center_crop(tree_features(self.grey_values(x)), size)
            found = torch.stack([tree_logits(trees, one) for one in asked])
        return found if place is None else place + found

    def _logits_of_place(self, x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor | None:
        if self.place is None:
            return None
        if x.shape[1] < self.input_channels:
            raise InputError("The place in the image counts for this network, but it was not given the place.")
        told = center_crop(x[:, self.config.in_channels : self.input_channels], size)
        logits = place_logits(self._centred(self.place), told[:, : self.config.ndim])
        return logits + enclosure_logits(self._enclosed(self.place), told[:, self.config.ndim :])

    def set_place(self, place: torch.Tensor | None) -> None:
        """Say what the place of a pixel adds to its logits, from now on.

        Parameters
        ----------
        place : torch.Tensor or None
            (class, B), coefficients of `napari_unet.data.place.place_basis`, and behind them those of
            `napari_unet.data.enclosure.measure_enclosure`, if that counts; None: the place does not count.
        """
        self.place = None if place is None else place.detach().clone()

    def set_trees(self, trees: Trees | None) -> None:
        """Say which trees add to the logits, from now on; None: none do.

        They ask for `napari_unet.nets.grey_features.tree_features`.
        """
        parts = (None, None, None) if trees is None else (trees.questions, trees.thresholds, trees.values)
        device = next(self.parameters()).device
        for name, part in zip(_TREE_PARTS, parts, strict=True):
            setattr(self, name, None if part is None else part.detach().clone().to(device))

    @property
    def trees(self) -> Trees | None:
        """The trees that add to the logits, if any do."""
        if self.tree_questions is None or self.tree_thresholds is None or self.tree_values is None:
            return None
        return Trees(self.tree_questions, self.tree_thresholds, self.tree_values)

    @property
    def takes_trees(self) -> bool:
        """Whether trees can add to the logits: of padded networks for images, where the place can count, too."""
        return self.takes_place and self.config.ndim == 2 and self.config.padding == "same"

    @property
    def whole_halo(self) -> tuple[int, int]:
        """The `halo`, and what the trees see beyond it."""
        if self.trees is None:
            return self.halo
        least = -(-GREY_REACH // self.divisor) * self.divisor
        return max(self.halo[0], least), max(self.halo[1], least)

    @property
    def surroundings(self) -> int:
        """Channels that tell where a pixel lies: none, one for each axis, or two more for how far it is enclosed."""
        if self.place is None:
            return 0
        return self.config.ndim + self._enclosed(self.place).shape[1]

    @property
    def input_channels(self) -> int:
        """Channels that the network reads: those of the image, and its `surroundings`."""
        return self.config.in_channels + self.surroundings

    @property
    def place_logits(self) -> PlaceLogits | None:
        """What makes the logits of the place, if the place counts."""
        if self.place is None:
            return None
        parts = (self._centred(self.place), self._enclosed(self.place))
        return PlaceLogits(*(part.float().cpu().numpy() for part in parts))

    def _centred(self, place: torch.Tensor) -> torch.Tensor:
        """Return (class, \\*centres) of (class, B)."""
        ndim = self.config.ndim
        return place[:, : CENTRES[ndim] ** ndim].reshape(-1, *(CENTRES[ndim],) * ndim)

    def _enclosed(self, place: torch.Tensor) -> torch.Tensor:
        """Return (class, 2) of (class, B), or (class, 0)."""
        return place[:, CENTRES[self.config.ndim] ** self.config.ndim :]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *details: Any) -> None:
        """Let the place and the trees count as they do in the state that is loaded."""
        device = next(self.parameters()).device
        for name in ("place", *_TREE_PARTS):
            given = state_dict.get(f"{prefix}{name}")
            setattr(self, name, None if given is None else torch.empty_like(given, device=device))
        super()._load_from_state_dict(state_dict, prefix, *details)

    @property
    def takes_place(self) -> bool:
        """Whether the place in the image can count: not where there are inner results."""
        return type(self).forward is SegmentationNetwork.forward

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, channel, \\*space), before the head."""
        raise NotImplementedError

    def freeze_encoder(self) -> None:
        """Keep the contracting path as it is from now on: no gradients, and in training as in prediction.

        So neither its weights nor the statistics of its normalisation change, it drops nothing, and no time is spent on
        its gradients.
        """
        self._frozen = True
        for part in self.encoder:
            self.get_submodule(part).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Go into training or evaluation mode; a frozen contracting path stays in the latter."""
        super().train(mode)
        if self._frozen:
            for part in self.encoder:
                self.get_submodule(part).eval()
        return self

    def check_size(self, x: torch.Tensor) -> None:
        """Refuse a map that can't be halved as often as needed."""
        space = tuple(x.shape[2:])
        if any(side < self.divisor or side % self.divisor for side in space):
            raise InputError(
                f"The network can't halve {' x '.join(map(str, space))} pixels {self.config.depth} times; "
                "choose another tile."
            )
