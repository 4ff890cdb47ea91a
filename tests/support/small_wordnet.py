"""A WordNet folder of a few nouns, in the real format."""

from __future__ import annotations

from pathlib import Path

ARTIFACT, ANIMAL, FOOD, PERSON, SUBSTANCE = 6, 5, 13, 18, 27

LICENCE = "  1 This stands in for the licence that begins the real files.  \n  2 It is indented.  \n"

SYNSETS: list[tuple[str, int, str, list[int]]] = [
    ("dog domestic_dog Canis_familiaris", ANIMAL, 'a member of the genus Canis; "the dog barked"', [1]),
    ("poodle poodle_dog", ANIMAL, "an intelligent dog", []),
    ("frump dog", PERSON, "a dull unattractive person", []),
    ("mouse", ANIMAL, "any of numerous small rodents", []),
    ("mouse computer_mouse", ARTIFACT, "a hand-operated electronic device", []),
    ("sausage frank hot_dog dog", FOOD, "a smooth-textured sausage", []),
    ("bicycle bike wheel cycle", ARTIFACT, "a wheeled vehicle that has two wheels", []),
    ("motorcycle bike", ARTIFACT, "a motor vehicle with two wheels", []),
    ("tower pillar column", ARTIFACT, "a structure taller than its diameter", []),
    ("bathtub bathing_tub bath tub", ARTIFACT, "a large open container that you fill with water", []),
    ("tool instrument", ARTIFACT, "an implement", []),
    ("ashcan trash_can dustbin", ARTIFACT, "a bin that holds rubbish", []),
    ("glass", SUBSTANCE, "a brittle transparent solid", []),
    ("pot weed", SUBSTANCE, "street names for marijuana", []),
    ("light", SUBSTANCE, "electromagnetic radiation", []),
    ("Light lamp", ARTIFACT, "a device that gives light", []),
]
"""The synsets of `write_wordnet`: lemmas, number of the lexicographers' file, gloss, indices of the narrower ones."""


def write_wordnet(folder: Path) -> Path:
    """The folder, with index.noun, data.noun and noun.exc; a word's meanings come in the order of `SYNSETS`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_line(0, [0] * len(narrower), *entry) for *entry, narrower in SYNSETS]
    offsets = [len(LICENCE.encode()) + sum(len(line.encode()) for line in lines[:i]) for i in range(len(lines))]
    lines = [
        _line(offset, [offsets[i] for i in narrower], *entry)
        for offset, (*entry, narrower) in zip(offsets, SYNSETS, strict=True)
    ]
    (folder / "data.noun").write_bytes((LICENCE + "".join(lines)).encode())
    index: dict[str, list[int]] = {}
    for offset, (lemmas, *_) in zip(offsets, SYNSETS, strict=True):
        for lemma in lemmas.split():
            index.setdefault(lemma.lower(), []).append(offset)
    entries = [
        f"{lemma} n {len(places)} 2 @ ~ {len(places)} 0 {' '.join(f'{place:08}' for place in places)}  \n"
        for lemma, places in sorted(index.items())
    ]
    (folder / "index.noun").write_bytes((LICENCE + "".join(entries)).encode())
    (folder / "noun.exc").write_text("mice mouse\n")
    return folder


def _line(offset: int, narrower: list[int], lemmas: str, file: int, gloss: str) -> str:
    words = lemmas.split()
    listed = " ".join(f"{word} 0" for word in words)
    pointers = "".join(f" ~ {place:08} n 0000" for place in narrower)
    return f"{offset:08} {file:02} n {len(words):02x} {listed} {len(narrower):03}{pointers} | {gloss}  \n"
