"""Keeps the layout's rules: who may import whom, what stays free of PyTorch, how long a piece of code may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "napari_unet"
MODULES = sorted(PACKAGE.rglob("*.py"))
OWN_CODE = sorted(
    path for folder in ("src", "tests", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)

GUI_PACKAGES = {"magicgui", "napari", "qtpy", "superqt", "PyQt5", "PyQt6", "PySide2", "PySide6", "vispy"}
PICKLING_PACKAGES = {"cloudpickle", "dill", "joblib", "pickle", "shelve", "_pickle"}
NETWORK_PACKAGES = {"aiohttp", "ftplib", "http", "httpx", "pooch", "requests", "urllib", "urllib3"}

# Which parts each part may import beside itself, errors, settings and words. `models` closes the stream of the core.
ALLOWED = {
    "__main__": {"cli"},
    "errors": set(),
    "settings": set(),
    "words": set(),
    "data": set(),
    "assess": {"data"},
    "session": {"data"},
    "nets": {"data"},
    "learn": {"data", "nets"},
    "predict": {"data", "nets"},
    "models": {"data", "nets", "learn", "predict"},
    "live": {"data", "nets", "learn", "predict", "models"},
    "batch": {"data", "nets", "predict", "models"},
    "demo": {"data", "nets", "learn", "predict", "models", "assess"},
    "cli": {"data", "nets", "learn", "predict", "models", "assess", "batch", "demo", "live", "widgets"},
    "widgets": {"data", "nets", "learn", "predict", "models", "assess", "session", "batch", "demo", "live"},
}
TORCH_FREE = [
    "assess.metrics",
    "batch.events",
    "batch.measure",
    "batch.plan",
    "data.axes",
    "data.episodes.workers",
    "data.population",
    "data.scenes.kinds",
    "data.simulated_strokes",
    "data.synthetic",
    "learn.border_weights",
    "learn.config",
    "nets.architectures",
    "nets.config",
    "predict.blend",
    "predict.config",
    "predict.instances",
    "predict.object_blocks",
    "predict.pending",
    "predict.tiles",
    "session.library",
    "session.recorder",
]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(path: Path) -> str:
    """Return the folder, or for a module at the top its own name; empty for the package's __init__.py."""
    return module_name(path).partition(".")[0]


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return all that a file consists of."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports_of(path: Path) -> tuple[tuple[str, int], ...]:
    """Return the full name and the line of every import, also of those inside functions."""
    found = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; name the module in full"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return tuple(found)


def offences(paths: Iterable[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in paths
        for name, line in imports_of(path)
        if name.split(".")[0] in forbidden
    ]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def test_the_files_are_found() -> None:
    assert len(MODULES) > 100
    assert Path(__file__).resolve() in OWN_CODE


def test_only_widgets_import_napari_and_qt() -> None:
    assert not offences((path for path in MODULES if part_of(path) != "widgets"), GUI_PACKAGES)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_run_along_the_stream(part: str) -> None:
    allowed = ALLOWED[part] | {part, "errors", "settings", "words", "__version__"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in MODULES
        if part_of(path) == part
        for name, line in imports_of(path)
        if name.startswith("napari_unet.") and name.split(".")[1] not in allowed
    ]
    assert not wrong


def test_every_part_of_the_package_has_import_rules() -> None:
    assert {part_of(path) for path in MODULES} - {""} <= set(ALLOWED)


def test_these_modules_do_not_name_torch() -> None:
    assert not offences((PACKAGE / f"{name.replace('.', '/')}.py" for name in TORCH_FREE), {"torch"})


def test_these_modules_are_imported_where_torch_is_missing() -> None:
    imports = "; ".join(f"import napari_unet.{name}" for name in TORCH_FREE)
    result = run_python(f"import sys; sys.modules['torch'] = None; {imports}")
    assert result.returncode == 0, result.stderr


def test_importing_the_package_loads_neither_torch_nor_napari() -> None:
    result = run_python(
        "import sys, napari_unet; dir(napari_unet); napari_unet.__version__;"
        f"print(*({GUI_PACKAGES | {'torch', 'numpy'}!r} & set(sys.modules)))"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_the_core_loads_no_napari_and_no_qt() -> None:
    names = [module_name(path) for path in MODULES if part_of(path) not in {"", "widgets"}]
    imports = "; ".join(f"import napari_unet.{name}" for name in names)
    result = run_python(f"import sys; {imports}; print(*({GUI_PACKAGES!r} & set(sys.modules)))")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_no_file_is_over_400_lines() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in OWN_CODE}
    assert not {path: count for path, count in lines.items() if count > 400}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from `def` to its end, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_no_function_is_over_60_lines() -> None:
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in OWN_CODE
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > 60
    ]


def pickling_calls(path: Path) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"torch.load", "torch.save"}:
            yield f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield f"{path.relative_to(ROOT)}:{node.value.lineno} allow_pickle={ast.unparse(node.value)}"


def test_nothing_is_pickled_and_nothing_asks_the_network() -> None:
    assert not offences(MODULES, PICKLING_PACKAGES | NETWORK_PACKAGES)
    assert not [call for path in MODULES for call in pickling_calls(path)]
