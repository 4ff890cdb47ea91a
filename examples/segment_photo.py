"""Segment one photo by names and save the picture: python examples/segment_photo.py PHOTO "cat|kitten, sofa, wall"."""

import sys
from pathlib import Path

from gkc import Segmenter

PHOTOS = Path(__file__).parent / "photos"


def main() -> None:
    photo, names = sys.argv[1:3] if len(sys.argv) > 2 else (PHOTOS / "chelsea.jpg", "cat, ear, wall")
    segmenter = Segmenter.load()  # the bundled model on ONNX Runtime
    result = segmenter(photo, names)
    for segment in result.segments:
        x, y, width, height = segment.box
        print(f"{segment.name:20} {segment.ratio:6.1%}  score {segment.score:.2f}  {width} x {height} at ({x}, {y})")
    result.overlay().save("segmented.png")
    print("wrote segmented.png")


if __name__ == "__main__":
    main()
