"""ONNX Runtime: networks and text towers without torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as states
from tokenizers import Tokenizer

from gkc.engines.base import ClassMaps, Features
from gkc.engines.threads import available_cores
from gkc.errors import ShapeError, WeightsError
from gkc.text.bank import TextBank, TextEncoder, class_vectors
from gkc.text.template import SCENE, Templated
from gkc.zoo import ModelFiles

Floats = npt.NDArray[np.float32]

VISION_OUTPUTS = ("queries", "no_object", "masks")
"""What every vision graph gives for its input `image`; one that also classifies pixels adds `pixels` and `basis`."""

DENSE_OUTPUTS = ("pixels", "basis")
TEXT_INPUTS = ("input_ids", "attention_mask")
TEXT_OUTPUT = "vectors"

VIEW_OUTPUTS = ("embeddings", "spatial", "coarse", "fine")
"""What the first graph of a network for pixels gives for its input `image`: unit vectors [1, e, g, g], and guidance."""

AGGREGATOR_INPUTS = (*VIEW_OUTPUTS, "vectors")
"""What its second graph takes: all of that, and a unit vector a class [T, e]."""

AGGREGATOR_OUTPUT = "logits"

DEFAULT_MOST_CLASSES = 256
"""Classes that an aggregator takes at once where a model does not say."""

MAX_TOKENS = 64
"""Longer names are cut after this many tokens."""

NAMES_PER_RUN = 64

_FAULTS = (
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NoModel,
    states.NoSuchFile,
    states.NotImplemented,
    states.RuntimeException,
)


def open_session(
    path: Path, *, threads: int | None = None, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> ort.InferenceSession:
    """A session for the graph at `path`, on `threads` threads (None: the cores available to this process).

    Raises:
        WeightsError: no such file, or not a graph that this ONNX Runtime can run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that waits by spinning takes the core from the numpy code that follows.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except _FAULTS as error:
        reason = " ".join(str(error).split())
        raise WeightsError(path, f"ONNX Runtime cannot load it ({reason}): install the model again") from error


class OnnxEngine:
    """A vision graph. Input `image`; outputs `VISION_OUTPUTS` and, if it classifies pixels, `DENSE_OUTPUTS`.

    Raises:
        WeightsError: the file is no such graph.
    """

    def __init__(
        self,
        path: Path,
        *,
        text_space: str,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self.text_space = text_space
        self.session = open_session(path, threads=threads, providers=providers)
        given = {output.name for output in self.session.get_outputs()}
        inputs = [node.name for node in self.session.get_inputs()]
        if inputs != ["image"] or not given.issuperset(VISION_OUTPUTS):
            raise WeightsError(path, f"not a vision graph (inputs {inputs}, outputs {sorted(given)}): export it again")
        self._outputs = [*VISION_OUTPUTS, *(DENSE_OUTPUTS if given.issuperset(DENSE_OUTPUTS) else ())]

    def encode(self, image: Floats) -> Features:
        """Features of one picture, float32 RGB [1, 3, h, w] in 0..1, h and w multiples of 32.

        Raises:
            ShapeError: the input has another shape.
        """
        if image.ndim != 4 or image.shape[:2] != (1, 3) or image.shape[2] % 32 or image.shape[3] % 32:
            raise ShapeError(f"the network takes [1, 3, h, w] with h and w multiples of 32, got {list(image.shape)}")
        found = dict(zip(self._outputs, self.session.run(self._outputs, {"image": image}), strict=True))
        return Features(
            queries=found["queries"][0],
            no_object=found["no_object"][0],
            mask_logits=found["masks"][0],
            pixels=found["pixels"][0] if "pixels" in found else None,
            basis=found.get("basis"),
        )


class OnnxDenseEngine:
    """Two graphs: a view to its features, and features with unit vectors of classes to logits.

    Of more than `most_classes` classes, those most like some place of a view are asked for, view by view.

    Raises:
        WeightsError: a file is no such graph.
    """

    def __init__(
        self, vision: Path, aggregator: Path, *, text_space: str, most_classes: int, threads: int | None = None
    ) -> None:
        self.text_space = text_space
        self.most_classes = most_classes
        self.vision = _open_graph(vision, ["image"], VIEW_OUTPUTS, threads)
        self.aggregator = _open_graph(aggregator, AGGREGATOR_INPUTS, [AGGREGATOR_OUTPUT], threads)
        self.side = int(self.vision.get_inputs()[0].shape[-1])
        self.text_dim = int(self.aggregator.get_inputs()[-1].shape[-1])

    def look(self, view: Floats) -> OnnxView:
        """Features of one view, float32 RGB [1, 3, side, side] in 0..1.

        Raises:
            ShapeError: the view has another shape.
        """
        if view.shape != (1, 3, self.side, self.side):
            raise ShapeError(f"the network takes [1, 3, {self.side}, {self.side}], got {list(view.shape)}")
        return OnnxView(self, self.vision.run(VIEW_OUTPUTS, {"image": view}))


@dataclass(frozen=True)
class OnnxView:
    """One view as `OnnxDenseEngine` keeps it: what its first graph gave."""

    engine: OnnxDenseEngine
    outputs: list[Floats]

    def answer(self, bank: TextBank[Floats]) -> ClassMaps:
        """Logits of the classes that the network keeps for this view."""
        vectors = self._vectors(bank)
        kept = np.arange(len(vectors))
        if len(vectors) > self.engine.most_classes:
            kept = np.sort(np.argsort(-self._cosines(vectors), kind="stable")[: self.engine.most_classes])
        inputs = dict(zip(AGGREGATOR_INPUTS, (*self.outputs, vectors[kept]), strict=True))
        return ClassMaps(classes=kept, logits=self.engine.aggregator.run([AGGREGATOR_OUTPUT], inputs)[0][0])

    def likeness(self, bank: TextBank[Floats]) -> Floats:
        """The largest cosine of each class with any place [K]."""
        return self._cosines(self._vectors(bank))

    def _cosines(self, vectors: Floats) -> Floats:
        places = self.outputs[0][0].reshape(self.engine.text_dim, -1)
        return np.asarray((vectors @ places).max(1), np.float32)

    def _vectors(self, bank: TextBank[Floats]) -> Floats:
        """A unit vector a class [K, e]."""
        if bank.vectors.shape[1] != self.engine.text_dim:
            raise ShapeError(
                f"text vectors have {bank.vectors.shape[1]} numbers, the network {self.engine.text_dim}: "
                "take the text encoder of this model"
            )
        return class_vectors(bank)


class OnnxTextEncoder:
    """A text tower: names, bare and in lower case, to unit vectors. Opened when first called; safe in threads."""

    def __init__(self, graph: Path, tokenizer: Path, *, space: str, threads: int | None = None) -> None:
        self.space = space
        self._graph = graph
        self._tokenizer_path = tokenizer
        self._threads = threads
        self._lock = threading.Lock()
        self._opened: tuple[Tokenizer, ort.InferenceSession] | None = None

    def __call__(self, names: list[str]) -> Floats:
        """Unit vectors float32 [N, D], one a name, independent of the other names.

        Raises:
            WeightsError: graph or tokenizer cannot be loaded.
        """
        tokenizer, session = self._open()
        tokens = [encoding.ids for encoding in tokenizer.encode_batch([name.lower() for name in names])]
        order = sorted(range(len(names)), key=lambda i: len(tokens[i]))
        vectors: list[Floats] = []
        for run in _runs([tokens[i] for i in order]):
            ids = np.zeros((len(run), len(run[-1])), np.int64)
            mask = np.zeros_like(ids)
            for row, name in enumerate(run):
                ids[row, : len(name)] = name
                mask[row, : len(name)] = 1
            vectors.append(session.run([TEXT_OUTPUT], dict(zip(TEXT_INPUTS, (ids, mask), strict=True)))[0])
        sorted_vectors = np.concatenate(vectors)
        result = np.empty_like(sorted_vectors)
        result[order] = sorted_vectors
        return result

    def _open(self) -> tuple[Tokenizer, ort.InferenceSession]:
        with self._lock:
            if self._opened is None:
                session = open_session(self._graph, threads=self._threads)
                names = {node.name for node in session.get_inputs()}, {node.name for node in session.get_outputs()}
                if names[0] != set(TEXT_INPUTS) or TEXT_OUTPUT not in names[1]:
                    problem = f"not a text tower (inputs {sorted(names[0])}, outputs {sorted(names[1])})"
                    raise WeightsError(self._graph, f"{problem}: export it again")
                self._opened = _open_tokenizer(self._tokenizer_path), session
            return self._opened


def _runs(names: list[list[int]]) -> Iterator[list[list[int]]]:
    """Token lists, ascending in length, in runs of like length, so that little is padded."""
    first = 0
    for i in range(1, len(names) + 1):
        if i == len(names) or i - first == NAMES_PER_RUN or len(names[i]) > 2 * len(names[first]):
            yield names[first:i]
            first = i


def _open_tokenizer(path: Path) -> Tokenizer:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(path, f"cannot be read ({error}): install the model again") from error
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise WeightsError(path, f"not a tokenizer ({error}): install the model again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _open_graph(path: Path, inputs: Sequence[str], outputs: Sequence[str], threads: int | None) -> ort.InferenceSession:
    """A session for a graph that has just these inputs and at least these outputs."""
    session = open_session(path, threads=threads)
    taken = [node.name for node in session.get_inputs()]
    given = {node.name for node in session.get_outputs()}
    if taken != list(inputs) or not given.issuperset(outputs):
        raise WeightsError(path, f"another graph (inputs {taken}, outputs {sorted(given)}): export it again")
    return session


def load(files: ModelFiles, *, threads: int | None = None) -> tuple[OnnxEngine | OnnxDenseEngine, TextEncoder]:
    """The network and the text tower of a model, its files verified.

    Raises:
        WeightsError: a file is missing, damaged, or no such graph.
    """
    space = files.card.text_space
    text_encoder = OnnxTextEncoder(files.path("text"), files.path("tokenizer"), space=space, threads=threads)
    if files.card.kind == "catseg":
        most = int(files.card.network.get("max_classes", DEFAULT_MOST_CLASSES))
        engine = OnnxDenseEngine(
            files.path("vision"), files.path("aggregator"), text_space=space, most_classes=most, threads=threads
        )
        return engine, Templated(text_encoder, files.card.network.get("template", SCENE))
    return OnnxEngine(files.path("vision"), text_space=space, threads=threads), text_encoder
