"""CLIP's tokenizer: text to token ids exactly as OpenAI's, from OpenAI's or from transformers' vocabulary files."""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from gkc.errors import WeightsError

BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
"""OpenAI's vocabulary file, as it lies in their repository."""

CONTEXT = 77
"""Most tokens of a text, both marks counted."""

_START, _END = "<|startoftext|>", "<|endoftext|>"
_NUM_MERGES = 49_152 - 256 - 2  # OpenAI uses this many lines of the file, and no more
# What ftfy repairs in ordinary text and Unicode normalisation does not: quotes, full-width forms and ligatures.
_REPAIRS = str.maketrans(
    {
        **dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
        **dict(zip(map(chr, range(0xFB00, 0xFB07)), ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True)),
    }
)


class Tokenizer:
    """Texts to token ids: cleaned, lower case, byte pairs merged, between a start and an end mark.

    OpenAI's repair of wrongly decoded text (ftfy) is left out; of what it does to sound text, quotes, full-width
    letters and ligatures are done here. HTML entities are resolved as OpenAI does.
    """

    def __init__(self, backend: CLIPTokenizer) -> None:
        self._backend = backend
        self.end = int(backend.eos_token_id)

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer whose files lie in `folder`: tokenizer.json, vocab.json with merges.txt, or OpenAI's file.

        Raises:
            WeightsError: the folder holds none of them.
        """
        if (folder / BPE_FILE).is_file():
            return cls.from_bpe(folder / BPE_FILE)
        if (folder / "tokenizer.json").is_file() or all(
            (folder / name).is_file() for name in ("vocab.json", "merges.txt")
        ):
            return cls(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
        raise WeightsError(
            folder, f"holds no CLIP tokenizer: put {BPE_FILE} (in github.com/openai/CLIP) or tokenizer.json there"
        )

    @classmethod
    def from_bpe(cls, path: Path) -> Tokenizer:
        """The tokenizer of a merges file in OpenAI's format: a head line, then one pair a line; gzip if so named.

        Raises:
            WeightsError: the file cannot be read.
        """
        try:
            data = path.read_bytes()
            lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8").split("\n")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise WeightsError(path, f"cannot be read as a merges file ({error}): give OpenAI's {BPE_FILE}") from error
        merges: Any = [(pair[0], pair[1]) for line in lines[1 : _NUM_MERGES + 1] if len(pair := line.split()) == 2]
        letters = _byte_letters()
        tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), _START, _END]
        return cls(CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))

    def save(self, path: Path) -> None:
        """Write the tokenizer as a tokenizer.json, which needs no transformers to be read; texts are not cleaned."""
        self._backend.backend_tokenizer.save(str(path))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Ids int64 [N, T], T the longest text's length (at most 77); the end mark fills up shorter ones.

        Texts that are too long lose their last tokens and keep the end mark.
        """
        cleaned = [_clean(text) for text in texts]
        encoded: Any = self._backend(cleaned, truncation=True, max_length=CONTEXT, padding=False)
        rows = encoded["input_ids"]
        ids = torch.full((len(rows), max(len(row) for row in rows)), self.end, dtype=torch.int64)
        for row, places in zip(rows, ids, strict=True):
            places[: len(row)] = torch.tensor(row)
        return ids


def _clean(text: str) -> str:
    return " ".join(html.unescape(html.unescape(text.translate(_REPAIRS))).split())


def _byte_letters() -> list[str]:
    """One printable letter for each byte, in OpenAI's order: visible Latin-1 characters first, then the others."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) for byte in visible] + [chr(256 + index) for index in range(len(hidden))]
