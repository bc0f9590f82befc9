"""Episodes: tasks that both images show, strokes that are true, and the same for the same number."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_unet.data.episodes import episode as episode_module
from napari_unet.data.episodes import task as task_module
from napari_unet.data.episodes.episode import Episode, PaintedTask, draw_episode
from napari_unet.data.episodes.filtered import FILTERS, draw_responses
from napari_unet.data.episodes.group import ImageGroup, annotated_group, draw_group, three_channels
from napari_unet.data.episodes.stream import LANES, EpisodeStream
from napari_unet.data.episodes.task import (
    BORDER,
    LARGE,
    RIM,
    common_things,
    draw_classes,
    draw_things,
    mark_borders,
)
from napari_unet.errors import InputError, UNetError


def make_group(rng: np.random.Generator, shape: tuple[int, ...] = (48, 56), size: int = 2) -> ImageGroup:
    """Make images whose grey value is the region's, so that image and truth can be compared after any cut."""
    regions, objects = [], []
    for _ in range(size):
        smooth = ndimage.gaussian_filter(rng.normal(size=shape), 4)
        truth = np.digitize(smooth, np.quantile(smooth, [0.4, 0.7])).astype(np.uint8)
        regions.append(truth)
        objects.append(ndimage.label(truth == 2)[0])
    return annotated_group("levels", [truth[np.newaxis] * 100.0 for truth in regions], regions, objects)


# ----------------------------------------------------------------------------------------------------------- groups


def test_any_number_of_channels_becomes_three(rng: np.random.Generator) -> None:
    one, two, three, five = (rng.random((n, 4, 5)) for n in (1, 2, 3, 5))
    assert np.array_equal(three_channels(one, range(1)), np.concatenate([one] * 3))
    assert np.allclose(three_channels(two, range(2))[2], two.mean(0))
    assert three_channels(three, (2, 1, 0)) is three
    assert np.array_equal(three_channels(five, (4, 0, 2, 1, 3)), five[[4, 0, 2]])


@pytest.mark.parametrize("shape", [(40, 48), (8, 32, 32)])
def test_a_group_of_scenes_is_normalised_and_has_the_truth(shape: tuple[int, ...]) -> None:
    for seed in range(6):
        group = draw_group(np.random.default_rng(seed), shape)
        assert len(group.images) == len(group.regions) == 3
        for image, regions in zip(group.images, group.regions, strict=True):
            assert image.shape == (3, *shape)
            assert image.dtype == np.float16
            assert regions.shape == shape
            assert -1 <= image.min() < 0.1
            assert 0.9 < image.max() <= 3


def test_real_images_that_do_not_fit_are_refused_in_words() -> None:
    images, truths = [np.eye(8)[np.newaxis]] * 2, [np.eye(8, dtype=int)] * 2
    with pytest.raises(InputError, match="at least two"):
        annotated_group("x", images[:1], truths[:1])
    with pytest.raises(InputError, match="not the sizes"):
        annotated_group("x", images, [truths[0], truths[1][:7]])
    with pytest.raises(InputError, match="not the sizes"):
        annotated_group("x", images, truths, truths[:1])


# ------------------------------------------------------------------------------------------------------------ tasks


def test_borders_lie_between_objects_and_around_them() -> None:
    objects = np.zeros((6, 8), np.uint16)
    objects[1:5, 1:4], objects[1:5, 4:7] = 1, 2
    marked = mark_borders((objects > 0).astype(np.uint8), objects, wide=False)
    assert (marked[2:4, 4] == BORDER).all()  # between two that touch
    assert (marked[2:4, 2] == 1).all()
    assert marked[0, 0] == 0
    wide = mark_borders((objects > 0).astype(np.uint8), objects, wide=True)
    assert (wide == BORDER)[marked == BORDER].all()
    assert (wide == BORDER).sum() > (marked == BORDER).sum()


def test_only_things_that_both_images_show_are_told_apart(rng: np.random.Generator) -> None:
    maps = [rng.choice(things, (20, 20)).astype(np.uint8) for things in ([0, 1, 2, 5], [0, 2, 5, 9])]
    assert common_things(maps) == [0, 2, 5]
    counts, foreground = set(), set()
    for _ in range(300):
        task = draw_classes(rng, maps)
        assert task is not None
        classes, count = task
        counts.add(count)
        for truth, m in zip(classes, maps, strict=True):
            assert set(np.unique(truth)) == set(range(count))
            assert not truth[~np.isin(m, [0, 2, 5])].any()
        foreground.add(tuple(np.unique(maps[0][classes[0] == 1])))
    assert counts == {2, 3}
    assert {(0,), (2,), (5,), (2, 5)} <= foreground


def test_the_larger_half_of_the_objects_can_be_a_thing(rng: np.random.Generator) -> None:
    objects = np.zeros((60, 60), np.uint16)
    for number in range(6):
        objects[9 * number : 9 * number + 4, : 4 + 5 * number] = number + 1  # of 16, 36, ... 116 pixels
    maps, marked = [(objects > 0).astype(np.uint8)] * 2, 0
    for _ in range(60):
        for m in draw_things(rng, maps, [objects, objects]):
            if LARGE in m:
                assert np.array_equal(m == LARGE, objects > 3)
                assert np.array_equal(m[m != LARGE], maps[0][m != LARGE])
                marked += 1
    assert marked >= 2


def test_too_few_objects_are_neither_large_nor_small(rng: np.random.Generator) -> None:
    objects = np.zeros((40, 40), np.uint16)
    objects[2:12, 2:12], objects[20:39, 20:39] = 1, 2
    for _ in range(60):
        assert not any(LARGE in m for m in draw_things(rng, [objects > 0], [objects]))  # type: ignore[list-item]


def test_what_lies_along_an_edge_can_be_a_thing(rng: np.random.Generator) -> None:
    disc = (np.hypot(*(np.indices((64, 64)) - 32)) < 20).astype(np.uint8)
    depth = np.where(disc, ndimage.distance_transform_edt(disc), -ndimage.distance_transform_edt(1 - disc))
    seen = set()
    for _ in range(200):
        first, second = draw_things(rng, [disc, disc.copy()], None)
        assert np.array_equal(first, second)
        if RIM in first:
            inside = depth[first == RIM].min() > 0
            rims = {width: ((depth > 0) == inside) & (np.abs(depth) <= width) for width in (2, 3, 5, 8)}
            (width,) = [width for width, rim in rims.items() if np.array_equal(first == RIM, rim)]
            seen.add((inside, width))
        else:
            assert np.array_equal(first, disc)
    assert len(seen) == 8


def test_where_there_is_one_thing_alone_it_stays_whole_or_its_objects_are_outlined(rng: np.random.Generator) -> None:
    plain = np.ones((16, 16), np.uint8)
    objects = np.kron([[1, 2], [3, 4]], np.ones((8, 8), np.uint16))
    for _ in range(20):
        assert BORDER in draw_things(rng, [plain], [objects])[0]
        assert draw_things(rng, [np.where(objects == 1, 5, objects).astype(np.uint8)], None)[0].shape == (16, 16)


def test_one_thing_alone_is_no_task(rng: np.random.Generator) -> None:
    maps = [np.full((9, 9), 3, np.uint8), rng.integers(2, 5, (9, 9)).astype(np.uint8)]
    assert draw_classes(rng, maps) is None


# --------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("number", "draw"),
    [
        (0, lambda y, x: y > 4),  # brightness: the half that is bright
        (1, lambda y, x: np.hypot(y, x) < 2),  # spots: a disc of about their size
        (2, lambda y, x: np.abs(y) < 2),  # edges: the step between two halves
        (3, lambda y, x: y > 4),  # texture: the half that is noisy
        (4, lambda y, x: np.abs(x) < 1.5),  # bright lines
        (5, lambda y, x: np.abs(x) < 1.5),  # dark lines
    ],
)
def test_each_filter_responds_most_to_what_it_is_named_after(number: int, draw: Any, rng: np.random.Generator) -> None:
    y, x = np.indices((64, 64)) - 31.5
    there = draw(y, x)
    image = np.where(there, 1.0, 0.0)
    if number == 2:
        image = np.where(y > 0, 1.0, 0.0)
    elif number == 3:
        image = np.where(there, rng.normal(0, 1, y.shape), 0.0)
    elif number == 5:
        image = 1 - image
    response = FILTERS[number](image.astype(np.float32), 2.0)[6:-6, 6:-6]
    share = there[6:-6, 6:-6].mean()
    assert there[6:-6, 6:-6][response >= np.quantile(response, 1 - share / 2)].mean() > 0.9


def test_a_filter_has_one_threshold_for_all_images(rng: np.random.Generator) -> None:
    """So the thing means the same in both: an image without contrast has little of it, or nearly all is it."""
    rich = rng.normal(0, 1, (3, 48, 48))
    shares = np.array([[m.mean() for m in draw_responses(rng, [rich, 0.01 * rich])] for _ in range(40)])
    assert ((shares > 0) & (shares < 1)).any(1).all()
    assert np.abs(shares[:, 0] - shares[:, 1]).mean() > 0.05


# --------------------------------------------------------------------------------------------------------- episodes


@pytest.mark.parametrize(("space", "shape"), [((48, 56), (32, 32)), ((10, 24, 24), (8, 16, 16))])
def test_an_episode_is_true(space: tuple[int, ...], shape: tuple[int, ...], rng: np.random.Generator) -> None:
    group = make_group(rng, space)
    drawn = 0
    tasks: list[PaintedTask] = []
    both = 0
    for _ in range(20):
        episode = draw_episode(rng, group, shape, tasks=3)
        if episode is None:
            continue
        drawn += 1
        assert episode.images.shape == (2, 3, *shape)
        assert 1 <= len(episode.tasks) <= 3
        tasks += episode.tasks
    for task in tasks:
        assert task.classes.shape == (2, *shape)
        assert set(np.unique(task.classes[1])) == set(range(task.count))
        of_support = task.painted[task.painted < task.classes[0].size]
        assert set(np.unique(task.classes[0].ravel()[of_support])) == set(range(task.count))
        assert len(np.unique(task.painted)) == len(task.painted) < task.classes.size
        both += len(of_support) < len(task.painted)
    assert drawn > 10
    assert len(tasks) > 2 * drawn
    assert 0.15 < both / len(tasks) < 0.55


def test_the_tasks_of_an_episode_differ(rng: np.random.Generator) -> None:
    group = make_group(rng, (64, 64))
    episodes = [draw_episode(rng, group, (48, 48), tasks=4) for _ in range(10)]
    truths = [{task.classes.tobytes() for task in episode.tasks} for episode in episodes if episode is not None]
    assert np.mean([len(different) for different in truths]) > 2.5


def test_where_cells_fill_the_image_their_borders_are_the_task(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episode_module, "_FILTERED", 0.0)
    cells = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((8, 8), int))
    group = annotated_group("cells", [rng.random((1, 48, 48))] * 2, [cells > 0] * 2, [cells] * 2)
    episodes = [draw_episode(rng, group, (32, 32)) for _ in range(20)]
    drawn = [episode for episode in episodes if episode is not None]
    assert len(drawn) > 15
    assert all(episode.tasks[0].count == 2 for episode in drawn)


def test_image_and_truth_stay_together(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are drawn from the regions, so the classes differ in grey value in both images alike."""
    monkeypatch.setattr(task_module, "_MARKED", 0.0)
    monkeypatch.setattr(episode_module, "_FILTERED", 0.0)
    group = make_group(rng)
    for _ in range(30):
        episode = draw_episode(rng, ImageGroup(group.name, group.images, group.regions), (32, 32))
        if episode is not None and episode.tasks[0].count == 2:
            apart = []
            for image, truth in zip(episode.images.astype(np.float32), episode.tasks[0].classes, strict=True):
                levels = np.median(image[:, truth == 1]), np.median(image[:, truth == 0])
                within = np.abs(image[:, truth == 1] - levels[0]).mean()
                apart.append((within, abs(levels[0] - levels[1])))
            assert all(within < 0.5 for within, _ in apart)


# ----------------------------------------------------------------------------------------------------------- stream


def same(a: Episode, b: Episode) -> bool:
    if len(a.tasks) != len(b.tasks) or not np.array_equal(a.images, b.images):
        return False
    pairs = zip(a.tasks, b.tasks, strict=True)
    return all(
        x.count == y.count and np.array_equal(x.classes, y.classes) and np.array_equal(x.painted, y.painted)
        for x, y in pairs
    )


def test_an_episode_depends_on_seed_and_number_alone() -> None:
    first, second = (EpisodeStream((16, 16), (24, 24), seed=3, reuse=2, kept=2) for _ in range(2))
    forward = [first.episode(number) for number in range(60)]
    for number in (59, 3, 30, 48, 0):
        assert same(second.episode(number), forward[number])
    assert not same(EpisodeStream((16, 16), (24, 24), seed=4).episode(3), forward[3])
    assert len({episode.images.tobytes() for episode in forward}) == 60


def test_scenes_are_used_again_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_unet.data.episodes.stream as module

    drawn: list[Any] = []

    def count(*arguments: Any) -> ImageGroup:
        drawn.append(arguments)
        return draw_group(*arguments)

    monkeypatch.setattr(module, "draw_group", count)
    stream = EpisodeStream((16, 16), (24, 24), reuse=4, kept=2)
    lane = range(5, 6)
    list(islice(stream.episodes(lane), 40))
    assert 6 <= len(drawn) <= 10
    assert len(stream._groups) <= 2


def test_lanes_together_are_the_whole_stream() -> None:
    stream = EpisodeStream((16, 16), (24, 24), seed=1)
    whole = list(islice(stream.episodes(first=7), LANES))
    for place, episode in enumerate(whole):
        lane = (7 + place) % LANES
        assert same(next(EpisodeStream((16, 16), (24, 24), seed=1).episodes([lane], first=7)), episode)


def test_real_images_are_drawn_as_often_as_asked_for(rng: np.random.Generator) -> None:
    stream = EpisodeStream((16, 16), (24, 24), real=(make_group(rng),), real_share=0.5)
    sources = [stream.episode(number).source for number in range(80)]
    assert 25 <= sources.count("levels") <= 55
    assert stream.describe()["real"] == {"levels": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (16,)}, "2 or 3 sides"),
        ({"scene_shape": (8, 24, 24)}, "2 or 3 sides"),
        ({"reuse": 0}, "at least 1"),
        ({"tasks": 0}, "at least 1"),
        ({"real_share": 1.5}, "0 to 1"),
        ({"exposed": -0.1}, "0 to 1"),
        ({"exposed": 1.5}, "0 to 1"),
        ({"real_share": 0.5}, "name some sets"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EpisodeStream(**({"shape": (16, 16), "scene_shape": (24, 24)} | settings))


def test_images_without_two_things_are_refused_in_words() -> None:
    plain = annotated_group("plain", [np.eye(20)[np.newaxis]] * 2, [np.zeros((20, 20), int)] * 2)
    with pytest.raises(UNetError, match="No two things"):
        EpisodeStream((16, 16), (24, 24), real=(plain,), real_share=1.0).episode(0)
