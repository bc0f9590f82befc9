"""Trains the starting weights: a network whose last layer, solved from a few strokes, segments.

`python scripts/pretrain.py --minutes 120 --out weights.unet.safetensors` trains on synthetic scenes alone; `--real` and
`--sets` add real annotated images. It writes the model, a record beside it (`weights.unet.json`), and while it runs a
checkpoint, from which `--resume` goes on. The same seed gives the same episodes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.data.episodes.group import ImageGroup, annotated_group
from napari_unet.data.episodes.stream import LANES, EpisodeStream
from napari_unet.errors import InputError, UNetError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.meta.config import MetaConfig, MetaFinished, MetaProgress, MetaStarted
from napari_unet.learn.meta.learner import MetaLearner
from napari_unet.learn.meta.training import meta_train
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import choose_device

Archive = Mapping[str, Any]
Arrays = list[np.ndarray]

_LEAST_PIXELS = 60  # of an organ, for its slice to be shown
_HELD_OUT = 1_000_000  # added to the seed for the scenes of the final scores
_PRINT_SECONDS = 15.0
_EVERY = 3  # one image of so many, or one patient, is trained on; the others stay for tests


def main(arguments: list[str] | None = None) -> int:
    """Train, score and save; returns the exit status."""
    chosen = _parse(arguments)
    try:
        _pretrain(chosen)
    except UNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _pretrain(chosen: argparse.Namespace) -> None:
    checkpoint = chosen.out.with_name(chosen.out.stem + ".checkpoint.safetensors")
    if checkpoint.exists() and not chosen.resume:
        raise InputError(f"{checkpoint} is of a training that was not finished: add --resume, or delete it.")
    if chosen.resume and not checkpoint.exists():
        raise InputError(f"There is nothing to resume: {checkpoint} does not exist.")
    on_gpu = choose_device(chosen.device).torch_device.type != "cpu"
    stream, config = _make_stream(chosen), _make_config(chosen, on_gpu)
    model = Model.create(
        ModelConfig(
            ndim=chosen.ndim, in_channels=3, features=chosen.features, depth=chosen.depth,
            last_features=chosen.last_features, smooth_logits=chosen.ndim == 2,
        ),
        seed=chosen.seed,
    )  # fmt: skip
    processes = chosen.processes
    if processes is None:
        processes = min(LANES, max(1, (os.cpu_count() or 2) - 1)) if on_gpu else 1
    finished = _train(model, stream, config, processes, chosen.device, checkpoint)
    if finished.stopped:
        raise UNetError(f"stopped after {finished.step} steps; the same command with --resume goes on.")
    closed_form = finished.closed_form
    scores = _score(model, stream, closed_form, chosen.device, chosen.test_episodes)
    model.closed_form = closed_form
    record = {
        "seed": chosen.seed,
        "episodes": stream.describe(),
        "training": asdict(config),
        "closed_form": asdict(closed_form),
        "dice_on_held_out_scenes": scores,
    }
    model.history = {**model.history, "pretraining": record}
    model.save(chosen.out, half=True)
    text = json.dumps({**model.history, "model": asdict(model.config)}, indent=2)
    chosen.out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
    print(f"mean Dice on scenes that it has not seen: {scores['mean']}\nwritten: {chosen.out}")


def _train(
    model: Model, stream: EpisodeStream, config: MetaConfig, processes: int, device: str, checkpoint: Path
) -> MetaFinished:
    shown = -math.inf
    interrupted = _Interruption()
    events = meta_train(
        model, stream, config, processes=processes, device=device, should_stop=interrupted, checkpoint=checkpoint
    )
    for event in events:
        if isinstance(event, MetaStarted):
            print(f"training on {event.device} from step {event.step}, episodes from {processes} processes", flush=True)
        elif isinstance(event, MetaProgress) and time.monotonic() - shown > _PRINT_SECONDS:
            shown = time.monotonic()
            print(
                f"{event.seconds:7.0f} s  {event.fraction:4.0%}  step {event.step}  loss {event.loss:.3f}  "
                f"waiting {event.waiting:.0%}  ridge {event.closed_form.ridge:.3g}  "
                f"scale {event.closed_form.scale:.3g}  offset {event.closed_form.offset:.2f}",
                flush=True,
            )
    assert isinstance(event, MetaFinished)
    return event


class _Interruption:
    """Turns the first Ctrl-C or polite kill into a wish to stop, so that nothing is lost; the second one kills."""

    def __init__(self) -> None:
        self.came = False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def __call__(self) -> bool:
        return self.came

    def _note(self, *details: object) -> None:
        self.came = True
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _score(
    model: Model, stream: EpisodeStream, closed_form: ClosedForm, device: str, episodes: int
) -> dict[str, float]:
    """Measure the mean Dice on scenes drawn from another seed, for each kind and over all episodes."""
    place = choose_device(device)
    learner = place.place(MetaLearner(model.network, closed_form))
    unseen = replace(stream, seed=stream.seed + _HELD_OUT, real=(), real_share=0.0, reuse=1)
    drawn = [unseen.episode(number) for number in range(episodes)]
    dice = learner.score(drawn, place)
    learner.cpu()
    kinds: dict[str, list[float]] = {}
    for episode, score in zip(drawn, dice, strict=True):
        kinds.setdefault(episode.source, []).append(score)
    table = {name: round(float(np.mean(values)), 3) for name, values in sorted(kinds.items())}
    for name, value in table.items():
        print(f"{name:>20}  {value:.3f}  ({len(kinds[name])} episodes)")
    return {"mean": round(float(np.mean(dice)), 4), **table}


def _make_config(chosen: argparse.Namespace, on_gpu: bool) -> MetaConfig:
    return MetaConfig(
        max_steps=chosen.steps,
        max_seconds=None if chosen.minutes is None else 60 * chosen.minutes,
        batch=chosen.batch or (16 if on_gpu else 3),
        learning_rate=chosen.learning_rate,
        decorrelation=chosen.decorrelation,
    )


def _make_stream(chosen: argparse.Namespace) -> EpisodeStream:
    side = chosen.side or (160 if chosen.ndim == 2 else 64)
    shape = (side,) * 2 if chosen.ndim == 2 else (max(16, side // 2), side, side)
    divisor = 2**chosen.depth
    if any(n % divisor for n in shape):
        raise InputError(f"A network of depth {chosen.depth} needs pieces of a multiple of {divisor} pixels.")
    scene_shape = tuple(round(1.4 * n) for n in shape)
    real = tuple(read_set(chosen.real, name) for name in filter(None, chosen.sets.split(","))) if chosen.real else ()
    share = chosen.real_share if real else 0.0
    return EpisodeStream(
        shape,
        scene_shape,
        chosen.seed,
        reuse=chosen.reuse,
        real=real,
        real_share=share,
        tasks=chosen.tasks,
        exposed=chosen.exposed,
    )


def read_set(folder: Path, name: str) -> ImageGroup:
    """Read what may be trained on of an annotated set, from its archive in a folder.

    Of sets with several specimens it is every third one, from the first one on; the others stay for tests.
    """
    if name not in SETS:
        raise InputError(f"Weights may not be trained on {name!r}, or it is not known; there are: {', '.join(SETS)}.")
    path = folder / f"{name.partition('/')[0]}.npz"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the folder of the annotated sets as --real.")
    with np.load(path, allow_pickle=False) as archive:
        images, regions, objects = SETS[name](archive)
    images = [image.transpose(2, 0, 1) if image.ndim == 3 else image[np.newaxis] for image in images]
    return annotated_group(name, images, regions, objects)


def _fluorescent_nuclei(archive: Archive) -> tuple[Arrays, Arrays, Arrays | None]:
    keys = sorted(key for key in archive if key.startswith("image_"))[::_EVERY]
    labels = [archive[key.replace("image", "label")] for key in keys]
    return [archive[key] for key in keys], [label > 0 for label in labels], labels


def _stained_nuclei(archive: Archive) -> tuple[Arrays, Arrays, Arrays | None]:
    labels = list(archive["labels"][::_EVERY])
    return list(archive["images"][::_EVERY]), [label > 0 for label in labels], labels


def _organ(
    images: str, organ: str, *, patient: str | None = None, every: int = 1
) -> Callable[[Archive], tuple[Arrays, Arrays, Arrays | None]]:
    """Return what reads images of an organ; `patient` names the array that says whose they are."""

    def read(archive: Archive) -> tuple[Arrays, Arrays, Arrays | None]:
        specimens = np.arange(len(archive[images])) if patient is None else archive[patient]
        taken = np.isin(specimens, np.unique(specimens)[::every])
        pairs = zip(archive[images][taken], archive[organ][taken], strict=True)
        shown = [(image, truth > 0) for image, truth in pairs if (truth > 0).sum() >= _LEAST_PIXELS]
        return [image for image, _ in shown], [truth for _, truth in shown], None

    return read


def _slices(image: str, label: str, step: int) -> Callable[[Archive], tuple[Arrays, Arrays, Arrays | None]]:
    def read(archive: Archive) -> tuple[Arrays, Arrays, Arrays | None]:
        chosen = slice(step // 2, None, step)
        labels = list(archive[label][chosen])
        return list(archive[image][chosen]), [truth > 0 for truth in labels], labels

    return read


# Only sets whose terms allow it: CC0, public domain, MIT and BSD.
SETS: dict[str, Callable[[Archive], tuple[Arrays, Arrays, Arrays | None]]] = {
    "nuclei_fluo_dsb2018": _fluorescent_nuclei,
    "nuclei_he_dsb2018": _stained_nuclei,
    "mri_lv_sunnybrook": _organ("images", "lv_cavity", patient="patient", every=_EVERY),
    "mri_spinalcord_3d": _organ("image", "cord"),
    "ct_lung_2d": _organ("images", "lung", every=_EVERY),
    "tiny_samples/nuclei": _slices("stardist_img3d", "stardist_mask3d", 6),
    "tiny_samples/ovule": _slices("plantseg_ovule_raw", "plantseg_ovule_label", 8),
}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the model's file, by custom *.unet.safetensors")
    budget = parser.add_argument_group("budget, over which the learning rate falls; at least one is needed")
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--steps", type=int)
    network = parser.add_argument_group("network")
    network.add_argument("--ndim", type=int, default=2, choices=[2, 3])
    network.add_argument("--features", type=int, default=16)
    network.add_argument("--last-features", type=int, default=32)
    network.add_argument("--depth", type=int, default=4)
    data = parser.add_argument_group("episodes")
    data.add_argument("--side", type=int, help="pixels of an image along each side (default: 160, in 3D 64)")
    data.add_argument("--tasks", type=int, default=5, help="tasks for each pair of images (default: 5)")
    data.add_argument(
        "--exposed", type=float, default=0.0, help="share of images that differ in contrast and light (default: 0)"
    )
    data.add_argument("--reuse", type=int, default=8, help="episodes from each group of scenes (default: 8)")
    data.add_argument("--real", type=Path, metavar="FOLDER", help="folder with the archives of annotated sets")
    data.add_argument("--sets", default="", help=f"which of them, separated by commas: {', '.join(SETS)}")
    data.add_argument("--real-share", type=float, default=0.3, help="share of episodes from these (default: 0.3)")
    data.add_argument("--seed", type=int, default=0)
    data.add_argument("--processes", type=int, help="that draw episodes (default: 1; with a GPU all cores but one)")
    training = parser.add_argument_group("training")
    training.add_argument("--batch", type=int, help="episodes in a step (default: 3, with a GPU 16)")
    training.add_argument("--learning-rate", type=float, default=2e-3)
    training.add_argument("--decorrelation", type=float, default=1.0, help="what channels that are alike cost")
    training.add_argument("--device", default="auto")
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the model's file")
    training.add_argument("--test-episodes", type=int, default=200, help="episodes of the final scores")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
