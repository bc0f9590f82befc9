"""The average of the weights: against PyTorch's own with the same decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_unet.learn.moving_average import MovingAverage


@pytest.mark.parametrize("buffers", [False, True])
def test_it_is_pytorchs_average_with_a_decay_that_grows(buffers: bool) -> None:
    @torch.no_grad()
    def decayed(average: Any, current: Any, count: Any) -> None:
        share = 1 - min(0.9, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(average, current, strict=True):
            old.lerp_(new, share) if old.is_floating_point() else old.copy_(new)

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    expected = AveragedModel(network, multi_avg_fn=decayed, use_buffers=buffers)
    average = MovingAverage(network, 0.9, buffers=buffers)
    for _ in range(100):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(2, 1, 6, 6))
        expected.update_parameters(network)
        average.update(network)
        assert average.state_dict().keys() == expected.state_dict().keys()
        for name, value in average.state_dict().items():
            torch.testing.assert_close(value, expected.state_dict()[name], msg=name)


def test_it_does_not_touch_the_network() -> None:
    network = nn.Linear(2, 2)
    average = MovingAverage(network, 0.5)
    before = [parameter.clone() for parameter in network.parameters()]
    for parameter in average.parameters():
        nn.init.zeros_(parameter)
    average.update(network)
    for mine, theirs, old in zip(average.module.parameters(), network.parameters(), before, strict=True):
        assert torch.equal(theirs, old)
        assert torch.equal(mine, theirs)
