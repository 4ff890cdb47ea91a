"""Fit the text tower of gkc-tiny: an English phrase in, a CLIP ViT-B/32 text vector out.

The tower is a frozen all-MiniLM-L6-v2 with a kernel ridge regression on top: a phrase is
compared with the names whose vectors are known, and their vectors are blended. Known names
come out nearly exact, unknown ones as a mix of their neighbours in meaning. The fit is closed
form, so it is exact, quick and repeatable. With so few names, fine-tuning did not do better.

CLIP text vectors share one large common part, so the direction from the mean vector is
predicted, and the mean is added back inside the graph.
"""

import json
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file
from text_tower_data import Anchors, Teachers, hold_out, key, load_teachers, synonyms, unit
from text_tower_export import as_call, export_int8, open_session, shrink_vocabulary
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

POOLED = (0, 2, 4, 6)  # layers whose mean-pooled states are compared; 0 is the word table
REDUCED = 256  # principal directions that are kept of them
WIDTH = 0.5  # of the kernel exp(-WIDTH * d^2), for features of unit mean square norm
NOISE = {"name": 0.1, "stuff": 0.3, "synonym": 1.0}
MAP_DAMP = 0.1  # ridge strength of the ViT-B/16 to ViT-B/32 map


class Layer(nn.Module):
    """One BERT encoder layer, for inference."""

    def __init__(self, width: int = 384, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-12) for _ in range(2))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
        x = self.norm1(x + self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Tower(nn.Module):
    """MiniLM, then a kernel regression; the output is a unit vector in CLIP text space."""

    def __init__(self, weights: dict[str, Tensor], positions: int = 64) -> None:
        super().__init__()
        get = weights.__getitem__
        self.words = nn.Embedding.from_pretrained(get("embeddings.word_embeddings.weight"))
        # The token type is always 0, so its vector is folded into the positions.
        places = get("embeddings.position_embeddings.weight")[:positions]
        self.register_buffer("places", places + get("embeddings.token_type_embeddings.weight")[0])
        self.norm = nn.LayerNorm(384, eps=1e-12)
        self.norm.load_state_dict({k: get(f"embeddings.LayerNorm.{k}") for k in ("weight", "bias")})
        self.layers = nn.ModuleList(Layer() for _ in range(6))
        parts = {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "out": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "up": "intermediate.dense",
            "down": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for i, layer in enumerate(self.layers):
            for ours, theirs in parts.items():
                state = {k: get(f"encoder.layer.{i}.{theirs}.{k}") for k in ("weight", "bias")}
                getattr(layer, ours).load_state_dict(state)
        self.reduce = nn.Linear(384 * len(POOLED), REDUCED)
        self.requires_grad_(False).eval()

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        m = mask.to(torch.float32)
        bias = (1 - m)[:, None, None, :] * -1e9
        weight = (m / m.sum(1, keepdim=True))[:, None, :]
        x = self.norm(self.words(ids) + self.places[: ids.shape[1]])
        pooled = []
        for i in range(len(self.layers) + 1):
            if i in POOLED:
                pooled.append(F.normalize((weight @ x).squeeze(1), dim=-1))
            if i < len(self.layers):
                x = self.layers[i](x, bias)
        return torch.cat(pooled, -1)

    def kernel(self, x: Tensor) -> Tensor:
        """Likeness of reduced features to every anchor, 1 where they are the same."""
        distance = (x * x).sum(-1, keepdim=True) - 2 * (x @ self.keys) + self.key_norms
        return (-WIDTH * distance.clamp(min=0)).exp()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        likeness = self.kernel(self.reduce(self.features(input_ids, attention_mask)))
        direction = F.normalize(likeness @ self.values + self.offset, dim=-1)
        # A fixed radius keeps guesses for rare words as far from the mean as real vectors are.
        return F.normalize(self.mean + self.radius * direction, dim=-1)

    def fit(self, features: Tensor, anchors: Anchors, mean: np.ndarray) -> None:
        """Closed-form fit in float64; `features` are those of the anchor texts."""
        x = features.double()
        centre = x.mean(0)
        directions = torch.linalg.eigh((x - centre).T @ (x - centre))[1][:, -REDUCED:]
        y = (x - centre) @ directions
        directions = directions / y.square().sum(1).mean().sqrt()
        self.reduce.weight.copy_(directions.T)
        self.reduce.bias.copy_(-centre @ directions)
        keys = self.reduce(features)
        self.register_buffer("keys", keys.T.contiguous())
        self.register_buffer("key_norms", keys.square().sum(1))
        delta = torch.from_numpy(anchors.vectors - mean)
        goal = F.normalize(delta, dim=-1)
        gram = self.kernel(keys).double() + torch.diag(torch.from_numpy(anchors.noise))
        values = torch.linalg.solve(gram, goal - goal.mean(0))
        self.register_buffer("values", values.float())
        self.register_buffer("offset", goal.mean(0).float())
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("radius", delta.norm(dim=-1).mean().float())


def encode(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    rows = tokenizer.encode_batch(texts)
    return torch.tensor([r.ids for r in rows]), torch.tensor([r.attention_mask for r in rows])


def predict(call, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    parts = [call(*encode(tokenizer, texts[i : i + 128])) for i in range(0, len(texts), 128)]
    return torch.cat(parts)


def ridge(x: np.ndarray, y: np.ndarray, damp: float):
    """Linear ridge regression in dual form; `damp` is relative to the mean kernel diagonal."""
    mx, my = x.mean(0), y.mean(0)
    gram = (x - mx) @ (x - mx).T
    w = (x - mx).T @ np.linalg.solve(gram + damp * np.trace(gram) / len(x) * np.eye(len(x)), y - my)
    return lambda z: (z - mx) @ w + my


def score(pred, truth: np.ndarray, bank: np.ndarray, mean: np.ndarray) -> dict[str, float]:
    """Cosines to `bank[truth]`, and how often that row is the nearest of the bank."""
    pred = unit(np.asarray(pred, dtype=np.float64))
    centred = unit(pred - mean), unit(bank - mean)
    out = {}
    for label, (p, b) in {"": (pred, bank), "centred_": centred}.items():
        s = p @ b.T
        own = np.take_along_axis(s, truth[:, None], 1)
        rank = (s > own).sum(1)
        out[f"{label}cosine"] = own.mean()
        out |= {f"{label}top{k}": (rank < k).mean() for k in (1, 5)}
    s = centred[0] @ centred[1][truth].T
    # Among the truths of the asked names only: no trained neighbour can stand in the way.
    out["centred_top1_among_asked"] = ((s > np.diag(s)[:, None]).sum(1) < 1).mean()
    return {k: round(float(v), 4) for k, v in out.items()}


class Lab:
    """The teachers, one tower and the cached features of all texts."""

    def __init__(self, teachers: Teachers, tower: Tower, tokenizer: Tokenizer) -> None:
        self.t, self.tower, self.tokenizer = teachers, tower, tokenizer
        self.cache: dict[str, Tensor] = {}

    def features(self, texts: list[str]) -> Tensor:
        new = sorted(set(texts) - set(self.cache), key=lambda s: (len(s), s))
        if new:
            self.cache |= dict(zip(new, predict(self.tower.features, self.tokenizer, new), strict=True))
        return torch.stack([self.cache[s] for s in texts])

    def vectors(self, texts: list[str]) -> np.ndarray:
        return predict(self.tower, self.tokenizer, texts).numpy().astype(np.float64)

    def fit(self, train: np.ndarray, stuff: bool, words: bool) -> np.ndarray:
        """Fit on the names in the mask; returns their mean vector."""
        t = self.t
        names = [t.names[i] for i in np.flatnonzero(train)]
        mean = t.vectors[train].mean(0)
        anchors = Anchors(names, t.vectors[train], np.full(len(names), NOISE["name"]))
        if words:
            found = synonyms(t, train)
            anchors = extend(anchors, list(found), t.vectors[list(found.values())], NOISE["synonym"])
        if stuff:
            self.tower.fit(self.features(anchors.texts), anchors, mean)
            texts, vectors = self.stuff_targets(train, mean)
            anchors = extend(anchors, texts, vectors, NOISE["stuff"])
        self.tower.fit(self.features(anchors.texts), anchors, mean)
        return mean

    def stuff_targets(self, train: np.ndarray, mean: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Stuff names without a ViT-B/32 vector: mean of mapped ViT-B/16 and text direction."""
        t = self.t
        index = {n: i for i, n in enumerate(t.names)}
        pairs = [(j, index[n]) for j, n in enumerate(t.stuff_names) if n in index and train[index[n]]]
        source, target = map(list, zip(*pairs, strict=True))
        mapping = ridge(t.stuff_vectors[source], unit(t.vectors[target] - mean), MAP_DAMP)
        hidden = {key(n) for i, n in enumerate(t.names) if not train[i]}
        new = [j for j, n in enumerate(t.stuff_names) if n not in index and key(n) not in hidden]
        names = [t.stuff_names[j] for j in new]
        mixed = unit(unit(mapping(t.stuff_vectors[new])) + unit(self.vectors(names) - mean))
        radius = np.linalg.norm(t.vectors[train] - mean, axis=1).mean()
        return names, mean + radius * mixed

    def compare_map(self, folds: int, seed: int) -> dict:
        """Folds over the names both teachers have: tower, map and their mean on unseen names."""
        t = self.t
        index = {n: i for i, n in enumerate(t.names)}
        rows = np.array([j for j, n in enumerate(t.stuff_names) if n in index])
        truth = np.array([index[t.stuff_names[j]] for j in rows])
        everyone = t.vectors.mean(0)
        fold = np.random.default_rng(seed).permutation(len(rows)) % folds
        found = {"text_tower": np.zeros((len(rows), 512)), "map": np.zeros((len(rows), 512))}
        for k in range(folds):
            asked = fold == k
            train = ~np.isin(t.groups, t.groups[truth[asked]])
            mean = self.fit(train, stuff=False, words=False)
            names = [t.names[i] for i in truth[asked]]
            found["text_tower"][asked] = unit(self.vectors(names) - mean)
            fair = train[truth]
            mapping = ridge(t.stuff_vectors[rows[fair]], unit(t.vectors[truth[fair]] - mean), MAP_DAMP)
            found["map"][asked] = unit(mapping(t.stuff_vectors[rows[asked]]))
        found["mean_of_both"] = unit(found["text_tower"] + found["map"])
        radius = np.linalg.norm(t.vectors - everyone, axis=1).mean()
        out = {k: score(everyone + radius * v, truth, t.vectors, everyone) for k, v in found.items()}
        return {"shared_names": len(rows), "folds": folds, **out}


def extend(a: Anchors, texts: list[str], vectors: np.ndarray, noise: float) -> Anchors:
    levels = np.concatenate([a.noise, np.full(len(texts), noise)])
    return Anchors(a.texts + texts, np.concatenate([a.vectors, vectors]), levels)


def check(lab: Lab, path: Path, mean: np.ndarray) -> dict:
    """Compare the int8 file with the float32 tower, alone, in batches, padded and shuffled."""
    names = lab.t.names
    call = as_call(open_session(path))
    full, small = lab.vectors(names), predict(call, lab.tokenizer, names).numpy()
    alone = torch.cat([call(*encode(lab.tokenizer, [n])) for n in names[:200]]).numpy()
    ids, mask = encode(lab.tokenizer, names[:20])
    padded = call(F.pad(ids, (0, 64 - ids.shape[1])), F.pad(mask, (0, 64 - ids.shape[1]))).numpy()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    shuffled = call(ids[order], mask[order]).numpy()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        again = call(ids, mask).numpy()
        times.append(time.perf_counter() - start)
    one, unpadded = small[:200], call(ids, mask).numpy()
    results = {
        "cosine_to_float32": float((full * small).sum(1).mean()),
        "cosine_to_float32_worst": float((full * small).sum(1).min()),
        "centred_cosine_to_float32": float((unit(full - mean) * unit(small - mean)).sum(1).mean()),
        "alone_against_batch_max_difference": float(np.abs(alone - one).max()),
        "padding_max_difference": float(np.abs(padded - unpadded).max()),
        "order_max_difference": float(np.abs(shuffled - unpadded[order]).max()),
        "repeat_max_difference": float(np.abs(again - unpadded).max()),
        "milliseconds_for_20_names": round(1000 * float(np.median(times)), 1),
    }
    if results["alone_against_batch_max_difference"] > 1e-4 or results["padding_max_difference"] > 1e-4:
        raise RuntimeError(f"vectors depend on the batch: {results}")
    return results


def main(
    teachers: Annotated[Path, typer.Option(help="Folder with the teacher vectors.")],
    minilm: Annotated[Path, typer.Option(help="Folder with model.safetensors and tokenizer.json.")],
    out: Annotated[Path, typer.Option(help="Folder for text.onnx and tokenizer.json.")],
    results: Annotated[Path, typer.Option(help="Results file.")] = Path("benchmarks/results/text_tower.json"),
    seed: int = 0,
    held_share: float = 0.15,
    threads: int = 2,
    date: Annotated[str, typer.Option(help="Date to note in the results.")] = "2026-11-21",
) -> None:
    start = time.perf_counter()
    torch.set_num_threads(threads)
    t = load_teachers(teachers)
    vocabulary, kept = shrink_vocabulary(json.loads((minilm / "tokenizer.json").read_text()))
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    weights = load_file(minilm / "model.safetensors")
    table = "embeddings.word_embeddings.weight"
    weights[table] = weights[table][kept]
    lab = Lab(t, Tower(weights), Tokenizer.from_file(str(out / "tokenizer.json")))

    held = hold_out(t, held_share, seed)
    asked = np.flatnonzero(held)
    names = [t.names[i] for i in asked]
    x = lab.features(t.names).double().numpy()
    mean = t.vectors[~held].mean(0)
    goal = unit(t.vectors[~held] - mean)
    radius = np.linalg.norm(t.vectors[~held] - mean, axis=1).mean()
    linear = {"ridge_last_layer": x[:, -384:], "ridge_four_layers": x}
    baselines = {"mean_vector": np.repeat(mean[None] * (1 + 1e-9), len(asked), 0)}
    baselines |= {k: mean + radius * unit(ridge(z[~held], goal, 1.0)(z[asked])) for k, z in linear.items()}
    report = {k: score(v, asked, t.vectors, mean) for k, v in baselines.items()}

    def held_out_run(train: np.ndarray, stuff: bool, words: bool) -> dict[str, float]:
        centre = lab.fit(train, stuff, words)
        return score(lab.vectors(names), asked, t.vectors, centre)

    order = np.random.default_rng(seed).permutation(np.flatnonzero(~held))
    curve = []
    for count in (200, 400, 800, len(order)):
        train = np.isin(np.arange(len(t.names)), order[:count])
        curve.append({"training_names": count, **held_out_run(train, stuff=False, words=False)})
        typer.echo(curve[-1])
    # Synonyms as anchors gain next to nothing for their size, so the recipe goes without.
    ablation = {"names_and_synonyms": held_out_run(~held, stuff=False, words=True)}
    final = held_out_run(~held, stuff=True, words=False)
    trained = np.flatnonzero(~held)
    known = score(lab.vectors([t.names[i] for i in trained]), trained, t.vectors, mean)
    export_int8(lab.tower, out / "text.onnx")
    quantised = predict(as_call(open_session(out / "text.onnx")), lab.tokenizer, names).numpy()
    held_int8 = score(quantised, asked, t.vectors, mean)
    typer.echo({"held out": final, "int8": held_int8, "known": known})
    stuff_map = lab.compare_map(folds=10, seed=seed)
    typer.echo(stuff_map)

    # The shipped tower: the same recipe on all names.
    everyone = lab.fit(np.ones(len(held), bool), stuff=True, words=False)
    export_int8(lab.tower, out / "text.onnx")
    checks = check(lab, out / "text.onnx", everyone)
    all_rows = np.arange(len(t.names))
    shipped = predict(as_call(open_session(out / "text.onnx")), lab.tokenizer, t.names).numpy()
    data = {
        "date": date,
        "command": "python scripts/train_text_tower.py --teachers TEACHERS --minilm MINILM --out OUT",
        "seed": seed,
        "versions": {p: version(p) for p in ("torch", "onnx", "onnxruntime", "tokenizers", "numpy")},
        "recipe": {"pooled": POOLED, "reduced": REDUCED, "width": WIDTH, "noise": NOISE, "map_damp": MAP_DAMP},
        "held_out": {"names": len(asked), "of": len(t.names), "float32": final, "int8": held_int8},
        "names_trained_in_the_held_out_run": known,
        "baselines": report,
        "ablation": ablation,
        "curve": curve,
        "stuff_map": stuff_map,
        "shipped_anchors": lab.tower.keys.shape[1],
        "shipped_trained_on_all_names": score(shipped, all_rows, t.vectors, everyone),
        "int8": checks,
        "bytes": {f: (out / f).stat().st_size for f in ("text.onnx", "tokenizer.json")},
        "seconds": round(time.perf_counter() - start, 1),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(data, indent=2) + "\n")
    typer.echo(json.dumps(data["int8"] | data["bytes"], indent=2))


if __name__ == "__main__":
    typer.run(main)
