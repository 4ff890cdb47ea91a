"""Teacher vectors, held-out split and synonyms for the text tower."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Anchors:
    """Texts with known vectors; `noise` says how loosely the tower may fit each of them."""

    texts: list[str]
    vectors: np.ndarray
    noise: np.ndarray


@dataclass
class Teachers:
    names: list[str]
    raw_names: list[str]
    strata: list[str]
    vectors: np.ndarray  # unit length
    lvis: list[dict]
    stuff_names: list[str]
    stuff_vectors: np.ndarray  # unit length, ViT-B/16 space
    groups: np.ndarray


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def bare(name: str) -> str:
    return re.sub(r"\s*\(.*?\)", "", name).strip()


def key(name: str) -> str:
    """The same for spellings, plurals and bracket variants of one name."""
    s = re.sub(r"[^a-z0-9]", "", re.sub(r"^(a|an|the) ", "", bare(name.lower().replace("_", " "))))
    if s.endswith("ies"):
        return s[:-3] + "y"
    if re.search(r"[sxhz]es$", s):
        return s[:-2]
    return s[:-1] if re.search(r"[^s]s$", s) else s


def group_names(names: list[str], lvis: list[dict]) -> np.ndarray:
    """Union of names that share a key, directly or through an LVIS synonym."""
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    owner: dict[str, int] = {}
    index = {n: i for i, n in enumerate(names)}
    spellings = list(enumerate(names))
    spellings += [(index[c["name"]], s) for c in lvis for s in c["synonyms"]]
    for i, s in spellings:
        parent[root(i)] = root(owner.setdefault(key(s), i))
    return np.array([root(i) for i in range(len(names))])


def load_teachers(folder: Path) -> Teachers:
    b32 = np.load(folder / "clip_vitb32_text.npz")
    b16 = np.load(folder / "clip_vitb16_cocostuff171.npz")
    lvis = json.loads((folder / "lvis_names.json").read_text())
    names = b32["names"].tolist()
    return Teachers(
        names=names,
        raw_names=b32["raw_names"].tolist(),
        strata=["several" if "," in s else s for s in b32["sources"].tolist()],
        vectors=unit(b32["vectors"].astype(np.float64)),
        lvis=lvis,
        stuff_names=b16["names"].tolist(),
        stuff_vectors=unit(b16["vectors"].astype(np.float64)),
        groups=group_names(names, lvis),
    )


def hold_out(t: Teachers, share: float, seed: int) -> np.ndarray:
    """Mask of held-out names: whole groups, the same share of every source."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(t.names), bool)
    strata = np.array(t.strata)
    for s in sorted(set(t.strata)):
        roots = [r for r in np.unique(t.groups) if strata[r] == s]
        rng.shuffle(roots)
        sizes = np.cumsum([(t.groups == r).sum() for r in roots])
        held |= np.isin(t.groups, [r for r, n in zip(roots, sizes, strict=True) if n <= share * sizes[-1] + 1])
    return held


def synonyms(t: Teachers, train: np.ndarray) -> dict[str, int]:
    """Other words for the names in the mask; nothing of the other names is used.

    A word that is itself a name has its own vector, and one that two names share is ambiguous.
    """
    owners: dict[str, set[int]] = {}
    index = {n: i for i, n in enumerate(t.names)}
    for i in np.flatnonzero(train):
        owners.setdefault(bare(t.names[i]), set()).add(int(i))
    for c in t.lvis:
        if train[index[c["name"]]]:
            for s in c["synonyms"]:
                owners.setdefault(s, set()).add(index[c["name"]])
    return {s: min(o) for s, o in owners.items() if s not in index and len(o) == 1}
