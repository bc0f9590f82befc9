"""Terminal options made from the configs that describe themselves, and errors told in one line.

Titles, help texts, bounds and defaults of the settings stand in one place, the config classes; a command names the
configs that it wants and gets what the person chose.
"""

from __future__ import annotations

import enum
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from napari_unet.errors import UNetError
from napari_unet.settings import SettingInfo, describe_settings

__all__ = ["fail", "reports_errors", "with_settings"]

_ADVANCED = "Advanced settings (the defaults need no change)"


def fail(message: object) -> None:
    """Print an error as one line."""
    typer.echo(f"Error: {' '.join(str(message).split())}", err=True)


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command end with one line and exit code 1 where it would end with a traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except UNetError as error:
            fail(error)
            raise typer.Exit(1) from error
        except MemoryError as error:
            fail("The memory of this computer is not enough; close other programs or take a smaller image.")
            raise typer.Exit(1) from error

    return run


def with_settings(
    *configs: type[Any],
    names: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
    skip: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each setting of some configs to a command.

    Parameters
    ----------
    *configs : type
        Config classes whose fields were made with `napari_unet.settings.setting`.
    names : mapping of str to str, optional
        Options that are called otherwise than their field: ``{"max_seconds": "--seconds"}``.
    defaults : mapping of str to str, optional
        Words for the default of fields for which the command chooses one itself.
    skip : tuple of str
        Fields without an option.

    Returns
    -------
    callable
        A decorator. The command takes a keyword `chosen`: a dict with, for each config class, a dict of the fields that
        the person chose, ready for ``Config(**chosen[Config])``.
    """
    called, standing_in = dict(names or {}), dict(defaults or {})
    settings: dict[str, tuple[type[Any], SettingInfo, Any]] = {}
    for config in configs:
        hints = get_type_hints(config)
        for info in describe_settings(config):
            if info.name not in skip:
                settings[info.name] = (config, info, hints[info.name])

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen: dict[type[Any], dict[str, Any]] = {config: {} for config in configs}
            for name, (config, info, hint) in settings.items():
                value = given.pop(name)
                if value is not None:
                    chosen[config][name] = _understand(value, info, hint)
            command(**given, chosen=chosen)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "chosen"]
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_option(info, hint, called.get(name, f"--{name.replace('_', '-')}"), standing_in.get(name)),
                annotation=_terminal_type(info, hint) | None,
            )
            for name, (_, info, hint) in settings.items()
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + added
        run.__dict__.pop("__wrapped__")
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _plain_types(hint: Any) -> tuple[type, ...]:
    """List the types that a field may have, without None."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _plain_types(part))
    if get_origin(hint) is Literal:
        return tuple(type(value) for value in get_args(hint))
    return () if hint is type(None) else (get_origin(hint) or hint,)


def _terminal_type(info: SettingInfo, hint: Any) -> Any:
    if info.choices:
        words = {_word(choice): _word(choice) for choice in info.choices}
        return enum.Enum(info.name, words, type=str)
    kinds = _plain_types(hint)
    if tuple in kinds:
        return str
    return next(kind for kind in (bool, float, int, str) if kind in kinds)


def _option(info: SettingInfo, hint: Any, name: str, default: str | None) -> Any:
    kinds = _plain_types(hint)
    numeric = not info.choices and tuple not in kinds and (int in kinds or float in kinds) and bool not in kinds
    return typer.Option(
        None,
        f"{name}/--no-{name.removeprefix('--')}" if bool in kinds else name,
        help=_help(info, kinds, default),
        metavar="NAME" if info.choice_notes else None,
        min=info.minimum if numeric else None,
        max=info.maximum if numeric else None,
        show_default=False,
        rich_help_panel=_ADVANCED if info.advanced else None,
    )


def _help(info: SettingInfo, kinds: tuple[type, ...], default: str | None) -> str:
    """Word a description, which is made for a form, for the terminal; an option can't be left empty there."""
    words, _, when_empty = info.description.partition("; empty: ")
    if default is None and when_empty:
        default = when_empty.rstrip(".")
    elif default is None and (info.default is not None or info.choices):
        default = ("on" if info.default else "off") if bool in kinds else _word(info.default)
    words = words if default is None else f"{words.rstrip('.')}. Default: {default}."
    notes = [f"{_word(choice)}: {note}" for choice, note in zip(info.choices, info.choice_notes, strict=False)]
    return "\n\n".join([words, *notes])


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _understand(value: Any, info: SettingInfo, hint: Any) -> Any:
    """Turn what the terminal gives into what the config wants."""
    if info.choices:
        return next(choice for choice in info.choices if _word(choice) == value.value)
    if tuple in _plain_types(hint):
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            words = f"{info.title}: expected whole numbers like 256 or 64,256,256, but got {value}."
            raise typer.BadParameter(words) from None
        return numbers[0] if len(numbers) == 1 else numbers
    return value
