"""Run by torchrun: what is computed on the parts of a batch must be what is computed on the whole batch."""

from __future__ import annotations

import os

import torch
from torch import nn

from napari_unet.learn.distributed import Processes, join_processes
from napari_unet.learn.losses import segmentation_loss
from napari_unet.learn.shared_batch_norm import SharedBatchNorm
from napari_unet.nets.device import choose_device


def same(mine: torch.Tensor | None, whole: torch.Tensor | None) -> None:
    torch.testing.assert_close(mine, whole, rtol=1e-10, atol=1e-10)


def check_batch_norm(processes: Processes, layer: nn.BatchNorm2d | nn.BatchNorm3d, space: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    nn.init.normal_(layer.double().weight, generator=generator)
    reference = type(layer)(5, momentum=layer.momentum).double()
    reference.load_state_dict(layer.state_dict())
    shared = SharedBatchNorm.convert(nn.Sequential(nn.Sequential(layer))).get_submodule("0.0")
    assert isinstance(shared, SharedBatchNorm)
    _, part = processes.share(3)
    for _ in range(2):
        x = torch.randn(6, 5, *space, generator=generator, dtype=torch.float64) * 3 + 7
        slope = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        whole, mine = x.clone().requires_grad_(), x[part].clone().requires_grad_()
        expected, result = reference(whole), shared(mine)
        (expected * slope).sum().backward()
        (result * slope[part]).sum().backward()
        same(result, expected[part])
        assert whole.grad is not None
        same(mine.grad, whole.grad[part])
    for name, parameter in shared.named_parameters():
        assert parameter.grad is not None
        same(processes.sum(parameter.grad), reference.get_parameter(name).grad)
    for name, value in shared.state_dict().items():
        same(value.double(), reference.state_dict()[name].double())


def check_losses(processes: Processes) -> None:
    generator = torch.Generator().manual_seed(0)
    _, part = processes.share(3)
    network = nn.Conv2d(1, 3, 3, padding=1).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=generator)
    image = torch.randn(6, 1, 8, 8, generator=generator, dtype=torch.float64)
    classes = torch.randint(3, (6, 8, 8), generator=generator)
    weights = torch.rand(6, 8, 8, generator=generator).double() + 0.1
    weights[3:] *= 4  # the parts count differently
    weights[:, :2] = 0
    wrapped = processes.wrap(network, choose_device("cpu"))
    for name in ("cross-entropy+dice", "focal", "cross-entropy+boundary"):
        network.zero_grad()
        expected = segmentation_loss(network(image), classes, weights, loss=name)  # type: ignore[arg-type]
        gradients = torch.autograd.grad(expected, list(network.parameters()))
        mine = wrapped(image[part]), classes[part], weights[part]
        loss = segmentation_loss(*mine, loss=name, reduce=processes.sum)  # type: ignore[arg-type]
        loss.backward()  # type: ignore[no-untyped-call]
        same(loss, expected)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            same(parameter.grad, gradient)


def check_decisions(processes: Processes) -> None:
    assert processes.any(processes.leads)
    assert not processes.any(False)
    assert processes.lead(10.5 + processes.rank) == 10.5
    assert processes.lead(None) is None
    assert processes.least(7 + processes.rank) == 7


if __name__ == "__main__":
    processes, _ = join_processes()
    check_batch_norm(processes, nn.BatchNorm2d(5), (4, 7))
    check_batch_norm(processes, nn.BatchNorm3d(5, momentum=None), (3, 4, 5))
    check_losses(processes)
    check_decisions(processes)
    print("same", flush=True)
    processes.any(False)  # none ends before all are done
    os._exit(0)  # a usual end of a process can abort in the threads of its exchanges
