"""The shape of the house: what may import what, how long files are, what is public, what the base may need."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture.surface import STORED, surface

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/gkc"
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}

# What each room may import, besides itself; explained in docs/data-flow.md. A module belongs to the longest prefix.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "text.vocabulary": {"errors"},
    "structures": {"errors", "text.vocabulary"},
    "inference.settings": {"errors"},
    "media": {"errors", "structures"},
    "viz": {"structures", "text.vocabulary"},
    "text": {"errors", "media", "structures", "text.vocabulary"},
    "metrics": {"errors", "structures", "text.vocabulary"},
    "config": {"errors"},
    "zoo": {"errors", "inference.settings"},
    "engines": {"errors", "text", "zoo"},
    "inference": {
        "engines", "errors", "inference.settings", "media", "structures", "text", "text.vocabulary", "zoo",
    },
    "formats": {"errors", "inference", "media", "structures", "text.vocabulary", "viz"},
    "cli": {
        "data", "engines", "errors", "evaluation", "formats", "inference", "inference.settings", "media",
        "structures", "text", "text.vocabulary", "video", "viz", "zoo",
    },
    "__main__": {"cli"},
    "video": {
        "data", "engines", "errors", "formats", "inference", "inference.settings", "media", "structures", "text",
        "text.vocabulary", "viz", "zoo",
    },
    "data": {"errors", "media", "structures", "text", "text.vocabulary"},
    "data.mixture": {"data", "errors", "structures", "text", "text.vocabulary"},
    "evaluation": {
        "data", "engines", "errors", "inference", "inference.settings", "media", "metrics", "structures", "text",
        "text.vocabulary", "video", "viz", "zoo",
    },
    "nn": {"errors"},
    "clip": {"errors"},
    "models": {"clip", "errors", "nn", "structures", "text"},
    "losses": {"errors", "structures", "text"},
    "teachers": {"clip", "data", "errors", "media", "nn", "structures", "text"},
    "engines.torch": {"clip", "config", "engines", "errors", "models", "text", "zoo"},
    "profiling": {"errors", "models", "nn", "text"},
    "training": {
        "clip", "config", "data", "data.mixture", "engines", "engines.torch", "errors", "evaluation", "export",
        "inference", "inference.settings", "losses", "media", "metrics", "models", "structures", "teachers", "text",
        "text.vocabulary", "zoo",
    },
    "export": {
        "clip", "engines", "engines.torch", "errors", "inference", "inference.settings", "media", "models", "nn",
        "structures", "text", "zoo",
    },
}  # fmt: skip

# A result hands itself to the room that draws or writes it, when it is asked to and not before.
DOORS = {("structures", "formats"), ("structures", "viz")}

NEEDS_TORCH = {
    "data.mixture", "nn", "clip", "models", "losses", "teachers", "engines.torch", "profiling", "training", "export",
}  # fmt: skip
NEEDS_THE_VIDEO_EXTRA = {"video"}

NOT_IN_THE_BASE = (
    "torch", "transformers", "scipy", "yaml", "pydantic", "onnx", "safetensors", "huggingface_hub", "av", "cv2",
)  # fmt: skip

MOST_LINES = 450
GOAL_LINES = 300


def room_of(module: str) -> str:
    inner = module.removeprefix("gkc").removeprefix(".")
    fitting = [room for room in ROOMS if inner == room or inner.startswith(f"{room}.")]
    return max(fitting, key=len, default=inner)


def imports_of(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every gkc module that is imported anywhere, and whether that happens inside a function."""
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((n if n in MODULES else str(node.module), id(node) in inside) for n in names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inside) for alias in node.names)


def trees() -> Iterator[tuple[str, ast.Module]]:
    for module, path in MODULES.items():
        yield module, ast.parse(path.read_text(encoding="utf-8"))


def test_rooms_import_only_what_they_may() -> None:
    wrong = []
    for module, tree in trees():
        if module == "gkc":
            continue  # names the public surface, and loads none of it
        room = room_of(module)
        assert room in ROOMS, f"{module} is in no room: give it one in ROOMS and in docs/data-flow.md"
        for imported, is_lazy in imports_of(tree):
            if imported == "gkc" or imported.split(".")[0] != "gkc":
                continue
            other = room_of(imported)
            allowed = other == room or other in ROOMS[room] or (is_lazy and (room, other) in DOORS)
            if not allowed:
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_rooms_have_no_cycle_and_exist() -> None:
    order = list(TopologicalSorter(ROOMS).static_order())
    assert order[0] in {"errors", "nn"} or not ROOMS[order[0]]
    empty = [room for room in ROOMS if not any(room_of(module) == room for module in MODULES)]
    assert not empty


def test_base_rooms_do_not_lean_on_torch_rooms() -> None:
    leaning = {room: ROOMS[room] & NEEDS_TORCH for room in ROOMS.keys() - NEEDS_TORCH}
    assert not {room: others for room, others in leaning.items() if others}


def test_base_imports_without_the_extras() -> None:
    base = [module for module in MODULES if room_of(module) not in NEEDS_TORCH | NEEDS_THE_VIDEO_EXTRA]
    code = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_IN_THE_BASE!r}:
            raise ModuleNotFoundError(name + " is not in the base", name=name)
sys.meta_path.insert(0, Absent())
for module in {base!r}:
    importlib.import_module(module)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_import_gkc_loads_nothing_heavy() -> None:
    code = "import sys, gkc; print(*sorted({'numpy', 'PIL', 'onnxruntime', 'rich', 'torch'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_files_are_short() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    print({module: length for module, length in lengths.items() if length > GOAL_LINES})
    assert not {module: length for module, length in lengths.items() if length > MOST_LINES}


def test_names_say_what_is_inside() -> None:
    empty_words = {"utils", "util", "helpers", "helper", "misc", "common", "core", "manager", "base_utils", "tools"}
    assert not [module for module in MODULES if empty_words & set(module.split("."))]


def test_only_the_command_line_prints_and_nothing_asserts() -> None:
    wrong = []
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                wrong.append(f"{module}:{node.lineno} asserts")
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if prints and not module.startswith("gkc.cli"):
                wrong.append(f"{module}:{node.lineno} prints")
    assert not wrong


def test_only_the_clip_and_nn_rooms_import_transformers() -> None:
    users = set()
    for module, tree in trees():
        users |= {room_of(module) for name, _ in imports_of(tree) if name.split(".")[0] == "transformers"}
    assert users <= {"clip", "nn"}


def test_public_surface_is_the_reviewed_one() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert surface() == stored, "if this is meant: python -m tests.architecture.surface, CHANGELOG.md, commit both"


def tracked_files() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode or not run.stdout:
        pytest.fail("the files of the project can only be listed in a git checkout")
    return [ROOT / name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_machine() -> None:
    # Put together here, so that this file does not name one itself.
    folders = [f"/{word}/" for word in ("work", "root", "home/[a-z]+", "Users/[a-z]+")]
    places = "|".join([*folders, "file:" + "///", "local" + "host"])
    hosts = "|".join(["extra-" + "index-url", "--index" + "-url", r"https?://[\w.]*(?:pypi|mirror|registry)[\w.]*/"])
    wrong = []
    for path in tracked_files():
        if path.suffix in {".jpg", ".png", ".onnx", ".safetensors"}:
            continue
        text = path.read_text(encoding="utf-8")
        wrong += [f"{path.relative_to(ROOT)}: {found[0]}" for found in re.finditer(f"{places}|{hosts}", text)]
    assert not wrong


def test_large_files_are_the_bundled_ones_alone() -> None:
    large = [p for p in tracked_files() if p.stat().st_size > 1_000_000 and SOURCE / "bundled" not in p.parents]
    assert not large
    assert sum(p.stat().st_size for p in tracked_files() if SOURCE / "bundled" in p.parents) <= 50_000_000
