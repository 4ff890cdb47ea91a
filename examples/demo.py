"""Segment the four example photos, write the pictures and print what was found: make demo."""

import json
import sys
import time
from pathlib import Path

from gkc import Segmenter

PHOTOS = Path(__file__).parent / "photos"


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.load()
    photos = json.loads((PHOTOS / "names.json").read_text(encoding="utf-8"))
    print(f"{'photo':16}{'seconds':>8}  found (share of the picture, score)")
    for photo, names in photos.items():
        start = time.perf_counter()
        result = segmenter(PHOTOS / photo, names)
        seconds = time.perf_counter() - start
        result.overlay().save(folder / f"{Path(photo).stem}.png")
        found = ", ".join(f"{segment.name} {segment.ratio:.0%} ({segment.score:.2f})" for segment in result.segments)
        print(f"{photo:16}{seconds:8.2f}  {found}", flush=True)
    print(f"\ndone: {len(photos)} pictures segmented, see {folder}/")


if __name__ == "__main__":
    main()
