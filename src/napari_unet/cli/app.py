"""The commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import napari_unet
from napari_unet.cli.evaluate_command import EVALUATE_HELP, evaluate
from napari_unet.cli.options import reports_errors, with_settings
from napari_unet.cli.store_prediction import SCHEDULER_HELP, WORKERS_HELP, predict_to_stores, wants_stores
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig

__all__ = ["main"]

_FILES = "Files, folders or patterns: TIFF, PNG, JPEG, NPY, NPZ (also file.npz:name), zarr, NIfTI, DICOM."
_ABOUT = """Segment microscopy and medical images with a U-Net that learns from a few painted strokes.

\b
Try it:                napari-unet demo
Learn from strokes:    napari-unet train cells.tif -a cells_strokes.tif --out cells.unet.safetensors
Segment a folder:      napari-unet predict cells.unet.safetensors images/ --out segmented/
Score the results:     napari-unet evaluate segmented/ --reference truth/
What is in a file:     napari-unet info cells.unet.safetensors
"""
_TRAIN = """Train a model on images and the strokes that were painted on them.

An annotation is an image of whole numbers, of the size of its image: 0 = not painted, 1 = background, 2 = the first
class (or the first object), 3 = the second, and so on. napari writes it when you save its Labels layer. Images and
annotations belong together when their names do: cells7.tif and cells7_strokes.tif, or the same name in two folders.
Quote a pattern after -a, or give the folder.

Ctrl-C ends the training early: the best model so far is written, and the exit code is 0.

On several GPUs or computers, torchrun starts one process for each: torchrun --nproc-per-node 2 -m napari_unet train ...
The --batch-size is then that of each process, so 2 of them train as one does with twice the batch. Without --checkpoint
the training is kept beside the model until it is done; if a process is lost, the same command goes on from there.

\b
Examples:
  napari-unet train cells.tif -a cells_strokes.tif --out cells.unet.safetensors
  napari-unet train images/ -a strokes/ --out cells.unet.safetensors --seconds 600
  napari-unet train images/ -a "masks/*.png" --labels-are ground-truth --out cells.unet.safetensors
  napari-unet train tissue.jpg -a areas.png --task classes --classes "rest,tumour,stroma" --out t.unet.safetensors
  napari-unet train stack.tif -a stack_strokes.tif --axes ZYX --ndim 3 --out volume.unet.safetensors
"""
_PREDICT = """Segment images with a trained model.

For each image a label image is written: one number for each object (0 = background), or for a model that was trained
with --task classes the classes (1 = background, 2 = the first class, ...). The table results.csv beside them lists what
was found. An image that can't be segmented does not stop the others; the exit code is then 1.

Ctrl-C stops; the same command with --resume goes on. Images are never overwritten, and neither are results that were
changed since or made by another program, unless --overwrite asks for it.

With --out NAME.zarr, --workers or --scheduler the result of each image is an OME-Zarr that is written tile by tile, for
images of any size; --probabilities stores these instead of labels. After a stop, a kill or a full disk the same command
goes on from there.

\b
Examples:
  napari-unet predict cells.unet.safetensors image.tif
  napari-unet predict cells.unet.safetensors images/ --out segmented/ --resume
  napari-unet predict head.unet.safetensors patients/ --out segmented/ --format nii.gz
  napari-unet predict cells.unet.safetensors "plate/*/w1.tif" --out segmented/ --device cuda
  napari-unet predict cells.unet.safetensors slide.zarr --out slide_cells.zarr
  napari-unet predict cells.unet.safetensors slides/ --out segmented/ --scheduler tcp://10.0.0.5:8786
"""
_DEMO = """Show the whole way on a real image: strokes, training, segmentation.

The image (tissue with a brown stain, from scikit-image) has a few strokes on stained and unstained tissue. A small
network learns from them, segments the image, and is compared with a reference. Takes about a minute.
"""

main = typer.Typer(
    name="napari-unet", help=_ABOUT, no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


class LabelKind(enum.StrEnum):
    """What 0 means in an annotation file."""

    annotation = "annotation"
    ground_truth = "ground-truth"


class Unpainted(enum.StrEnum):
    """What unpainted pixels are taken for."""

    ignore = "ignore"
    background = "background"


class Task(enum.StrEnum):
    """What to find."""

    objects = "objects"
    classes = "classes"


class FileKind(enum.StrEnum):
    """Format of the results."""

    source = "source"
    tif = "tif"
    png = "png"
    npy = "npy"
    zarr = "zarr"
    nii = "nii"
    nii_gz = "nii.gz"


Axes = Annotated[
    str | None,
    typer.Option("--axes", help="Axes of the images, one letter of TCZYXS each, where they are not as the file says."),
]
Device = Annotated[str, typer.Option("--device", help="'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-unet {napari_unet.__version__}")
        raise typer.Exit


@main.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # damaged files are told in one line of ours


@main.command(help=_DEMO)
@reports_errors
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("demo-output"),
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="How long to train.")] = 40.0,
    gui: Annotated[bool, typer.Option("--gui", help="Open the image and the strokes in napari instead.")] = False,
) -> None:
    """Run the demo."""
    from napari_unet.cli.show_demo import open_demo_window, run_demo

    if gui:
        open_demo_window()
    else:
        run_demo(out, seconds)


@main.command(help=_TRAIN)
@with_settings(
    ModelConfig,
    TrainConfig,
    names={"max_seconds": "--seconds", "max_steps": "--steps"},
    defaults={"max_seconds": "300, or none with --steps", "max_steps": "none"},
    skip=("in_channels",),
)
@reports_errors
def train(
    images: Annotated[list[Path], typer.Argument(help=_FILES)],
    annotation: Annotated[
        list[Path], typer.Option("--annotation", "-a", help="The annotations; may be given several times. " + _FILES)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model to write, NAME.unet.safetensors.")],
    labels_are: Annotated[
        LabelKind,
        typer.Option(
            help="'annotation': 0 is not painted, 1 background; 'ground-truth': 0 is background, 1, 2, ... the rest."
        ),
    ] = LabelKind.annotation,
    unpainted: Annotated[
        Unpainted,
        typer.Option(help="'ignore': nothing is known of unpainted pixels; 'background': they are background."),
    ] = Unpainted.ignore,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes, background first, with commas between them.")
    ] = None,
    axes: Axes = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="A model to start from instead of the starting weights, also with other channels, classes or network "
            "settings: the layers that fit are kept."
        ),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Begin with random weights, not with the starting weights; choosing the network does so, too.",
        ),
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Keep the training in this file (.safetensors); run the same command again to go on after a kill."
        ),
    ] = None,
    device: Device = "auto",
    *,
    chosen: dict[type[Any], dict[str, Any]],
) -> None:
    """Train a model."""
    from napari_unet.cli.training import TrainingFiles, train_on_files

    files = TrainingFiles(
        images=tuple(images), annotations=tuple(annotation), out=out, start=start, from_scratch=from_scratch,
        checkpoint=checkpoint, axes=axes,
        labels_are=labels_are.value, unpainted_is_background=unpainted is Unpainted.background,
    )  # fmt: skip
    names = None if classes is None else tuple(name.strip() for name in classes.split(","))
    train_on_files(files, chosen[ModelConfig], chosen[TrainConfig], classes=names, device=device)


@main.command(help=_PREDICT)
@with_settings(PredictConfig)
@reports_errors
def predict(
    model: Annotated[Path, typer.Argument(help="A model that `napari-unet train` or the napari dock saved.")],
    images: Annotated[list[Path], typer.Argument(help=_FILES)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results, or NAME.zarr for one.")] = Path(
        "segmented"
    ),
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probability of each class, too (NAME_probabilities).")
    ] = False,
    task: Annotated[Task | None, typer.Option(help="What to find, if not what the model was trained for.")] = None,
    axes: Axes = None,
    stitch: Annotated[
        float | None,
        typer.Option(help="Join objects of neighbouring Z planes from this intersection over union on (0.1, say)."),
    ] = None,
    suffix: Annotated[str, typer.Option(help="What is put behind the name of the image.")] = "_labels",
    kind: Annotated[
        FileKind, typer.Option("--format", help="Format of the results; 'source': that of each image.")
    ] = FileKind.source,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on: leave out what the same model and settings made from the same images."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Make results again that are there already.")
    ] = False,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help=SCHEDULER_HELP)] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help=WORKERS_HELP)] = None,
    *,
    chosen: dict[type[Any], dict[str, Any]],
) -> None:
    """Segment images."""
    from napari_unet.batch.plan import BatchConfig
    from napari_unet.cli.prediction import predict_files
    from napari_unet.data.files import find_images
    from napari_unet.models.model import Model

    if resume and overwrite:
        raise typer.BadParameter("--resume keeps what --overwrite makes again; choose one of them.")
    existing: Literal["keep", "resume", "overwrite"] = "resume" if resume else "overwrite" if overwrite else "keep"
    files = BatchConfig(out, kind.value, suffix, probabilities, existing, task and task.value, axes, stitch)
    found, config = find_images(images), PredictConfig(**chosen[PredictConfig])
    if wants_stores(out, scheduler, workers):
        complete = predict_to_stores(Model.load(model), found, files, config, scheduler=scheduler, workers=workers)
    else:
        complete = predict_files(Model.load(model), found, files, config)
    if not complete:
        raise typer.Exit(1)


main.command(help=EVALUATE_HELP)(evaluate)


@main.command()
@reports_errors
def info(files: Annotated[list[Path], typer.Argument(help="Model files and images.")]) -> None:
    """Say what is in model files and images: classes, axes, sizes, how it was trained."""
    from napari_unet.cli.info import describe_file
    from napari_unet.data.files import find_images

    for path in files:
        is_model = path.suffix.lower() == ".safetensors"
        for file in [path] if is_model else find_images([path]):
            lines = describe_file(file)
            width = max(len(title) for title, _ in lines)
            typer.echo("\n".join(f"{title:<{width}}  {value}" for title, value in lines))
            typer.echo("")
