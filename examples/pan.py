"""A clip where none is at hand, the camera going round over a photo: python examples/pan.py PHOTO CLIP.mp4."""

import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from gkc.video.sink import VideoSink

PHOTO = Path(__file__).parent / "photos/astronaut.jpg"
RATE, FRAMES, VIEW = 25, 75, 0.75


def main() -> None:
    photo, clip = sys.argv[1:3] if len(sys.argv) > 2 else (PHOTO, "clip.mp4")
    picture = Image.open(photo)
    width, height = (int(side * VIEW) for side in picture.size)
    with VideoSink(clip, rate=Fraction(RATE), size=(height, width)) as sink:
        for frame in range(FRAMES):
            turn = 2 * math.pi * frame / FRAMES
            left = round((1 + math.cos(turn)) / 2 * (picture.width - width))
            top = round((1 + math.sin(turn)) / 2 * (picture.height - height))
            view = picture.crop((left, top, left + width, top + height))
            sink.write(np.asarray(view), frame / RATE)
    print(f"wrote {clip}")


if __name__ == "__main__":
    main()
