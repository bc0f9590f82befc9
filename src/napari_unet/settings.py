"""Settings that describe themselves: the form in the dock and the terminal's options are built from one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from napari_unet.errors import InputError

__all__ = ["SettingInfo", "describe_settings", "setting", "validate_settings"]

_KEY = "napari_unet"


@dataclass(frozen=True)
class SettingInfo:
    """What a form needs to know about one field of a config.

    Attributes
    ----------
    name : str
        Name of the field.
    title : str
        A word or two for a form's label.
    description : str
        One sentence for a tooltip or a help text.
    default : Any
        Value when nothing is chosen.
    minimum, maximum : float or None
        Inclusive bounds of a number.
    choices : tuple
        The allowed values; empty where any will do.
    advanced : bool
        Whether a form should fold the field away.
    choice_notes : tuple of str
        One line for each choice on what it means or when to take it; empty where the choices speak for themselves.
    """

    name: str
    title: str
    description: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    advanced: bool = False
    choice_notes: tuple[str, ...] = ()


def setting(
    default: Any,
    title: str,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | Mapping[Any, str] = (),
    advanced: bool = False,
) -> Any:
    """Make a dataclass field that carries a title, a description and bounds; see `SettingInfo`.

    Choices that need a word of explanation are given as a mapping of choice to note.
    """
    details = {
        "title": title,
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices),
        "advanced": advanced,
        "choice_notes": tuple(choices.values()) if isinstance(choices, Mapping) else (),
    }
    return field(default=default, metadata={_KEY: details})


def describe_settings(config: Any) -> tuple[SettingInfo, ...]:
    """List the self-describing fields of a config class or instance, in order."""
    return tuple(
        SettingInfo(name=f.name, default=None if f.default is MISSING else f.default, **f.metadata[_KEY])
        for f in fields(config)
        if _KEY in f.metadata
    )


def validate_settings(config: Any) -> None:
    """Check every number against its bounds and every choice against the allowed values.

    Raises
    ------
    InputError
        Naming the field, what was expected and what came.
    """
    for info in describe_settings(config):
        value = getattr(config, info.name)
        if info.choices and value not in info.choices:
            allowed = ", ".join(repr(choice) for choice in info.choices)
            raise InputError(f"Expected `{info.name}` to be one of {allowed}, but got {value!r}.")
        if value is None:
            if info.default is not None and None not in info.choices:
                raise InputError(f"Expected `{info.name}` to have a value, but got None.")
            continue
        _check_kind(info, value)
        if info.minimum is not None and not value >= info.minimum:
            raise InputError(f"Expected `{info.name}` to be at least {info.minimum}, but got {value!r}.")
        if info.maximum is not None and not value <= info.maximum:
            raise InputError(f"Expected `{info.name}` to be at most {info.maximum}, but got {value!r}.")


def _check_kind(info: SettingInfo, value: Any) -> None:
    """Check that a bounded field is a number, and a whole one where its bound is written as one."""
    bound = info.maximum if info.minimum is None else info.minimum
    if bound is None:
        return
    if isinstance(bound, int) and not isinstance(value, Integral):
        raise InputError(f"Expected `{info.name}` to be a whole number, but got {value!r}.")
    if not isinstance(value, Real):
        raise InputError(f"Expected `{info.name}` to be a number, but got {value!r}.")
