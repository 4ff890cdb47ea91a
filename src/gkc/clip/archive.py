"""Readers of tensor files: OpenAI's TorchScript archives, saved state dicts and safetensors. None of them runs code."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gkc.errors import WeightsError

PUBLISHED_SHA256 = {
    "RN50.pt": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "RN101.pt": "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
    "ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "ViT-B-16.pt": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L-14.pt": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "ViT-L-14-336px.pt": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}
"""OpenAI's files and their checksums, which are also a part of their addresses."""

_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def check_published(path: Path) -> None:
    """Nothing, if the file's name is none of OpenAI's or its content is the published one.

    Raises:
        WeightsError: the file bears a published name and holds something else.
    """
    expected = PUBLISHED_SHA256.get(path.name)
    if expected is None:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise WeightsError(
            path, f"sha256 is {actual[:12]}..., of the published file {expected[:12]}...: fetch it again or rename it"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name, on the CPU, in their stored precision.

    TorchScript archives are unpickled with every class replaced by a plain name space, so that no code of the file
    runs, neither Python nor TorchScript; `torch.jit.load` would run the latter. State dicts go through
    `torch.load(weights_only=True)`; one that lies under "state_dict" or "model" is taken out of there.

    Raises:
        WeightsError: the file is missing, damaged, or of none of these kinds.
    """
    if not path.is_file():
        raise WeightsError(path, "is no file: put the weights there, or correct the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any("/code/" in name for name in archive.namelist()):
                    return dict(_flatten(_read_torchscript(archive), ""))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways, and all mean the same to a user
        raise WeightsError(path, f"cannot be read as tensors ({_first_line(error)}): fetch the file again") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(path, "holds no plain table of tensors: give a state dict")
    return {str(name): value for name, value in state.items()}


class _NameSpace:
    """Stands for any TorchScript module: unpickling fills its attributes."""


class _TorchScriptUnpickler(pickle.Unpickler):
    """Unpickles the data of a TorchScript archive; only tensors, numbers and name spaces can come out."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _NameSpace
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _rebuild_parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def _as_list(values: Any) -> list[Any]:
    return list(values)


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): dict,
    **{("torch.jit._pickle", f"build_{kind}list"): _as_list for kind in ("int", "double", "bool", "tensor")},
}


def _read_torchscript(archive: zipfile.ZipFile) -> Any:
    data = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
    return _TorchScriptUnpickler(archive, data.split("/", 1)[0]).load()


def _flatten(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _NameSpace):
            yield from _flatten(value, f"{prefix}{name}.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
