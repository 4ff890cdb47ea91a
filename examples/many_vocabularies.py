"""Encode a photo once and ask it with several vocabularies: python examples/many_vocabularies.py [PHOTO]."""

import sys
import time
from pathlib import Path

from gkc import Segmenter

PHOTOS = Path(__file__).parent / "photos"
VOCABULARIES = (
    ["coffee cup|cup", "saucer", "table"],
    ["cup", "plate", "spoon", "wooden table"],
    ["drink", "something made of wood"],
)


def main() -> None:
    segmenter = Segmenter.load()
    start = time.perf_counter()
    scene = segmenter.encode(sys.argv[1] if len(sys.argv) > 1 else PHOTOS / "coffee.jpg")
    print(f"encoded once in {time.perf_counter() - start:.3f} s")
    for names in VOCABULARIES:
        start = time.perf_counter()
        result = segmenter.decode(scene, names)
        found = ", ".join(f"{segment.name} {segment.ratio:.0%}" for segment in result.segments)
        print(f"{time.perf_counter() - start:.3f} s: {found}")


if __name__ == "__main__":
    main()
