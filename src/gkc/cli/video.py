"""`gkc video`: a video and names in; a video with coloured regions, label maps, tracks and areas out."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gkc.cli import options
from gkc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gkc.text.vocabulary import Vocabulary
    from gkc.video.segmenter import Session, VideoSegmenter

_UNITS = {"h": 3600, "m": 60, "s": 1}

Place = Annotated[
    str,
    typer.Argument(
        metavar="PLACE",
        help="A video file, a GIF, a folder of pictures, webcam:0, an rtsp:// or http:// address, or - for a video on "
        "standard input.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="The overlay: .mp4, .m4v, .mov or .mkv. All else is called after it.  [default: segmented/NAME.mp4]",
    ),
]
Save = Annotated[
    str | None,
    typer.Option(
        "--save",
        metavar="KINDS",
        help="What to write: overlay,labels,panoptic,tracks,areas,plot, or none.  [default: overlay; none with --json]",
    ),
]
Every = Annotated[int, typer.Option("--every", min=1, metavar="N", help="Take each Nth frame alone.")]
Start = Annotated[str | None, typer.Option("--start", metavar="TIME", help="Begin there: 10s, 1m20s or 1:20.")]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="End there.")]
Rate = Annotated[
    str | None,
    typer.Option("--rate", metavar="N", help="Frames per second of a folder: 25, 29.97 or 30000/1001.  [default: 25]"),
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size", min=32, metavar="PIXELS", help="The network's short side; less is faster.  [default: the model's own]"
    ),
]
Stability = Annotated[
    float,
    typer.Option("--stability", min=0, max=1, help="0: each frame by itself; 1: the calmest, with a long memory."),
]
Keyframe = Annotated[
    str,
    typer.Option(
        "--keyframe",
        metavar="K",
        help="Run the network on every Kth frame, and follow the motion in between; auto: whenever enough has changed.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One line of JSON a frame on standard output, without masks, and nothing else.")
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="STATE", help="Go on from a saved state, with its names and settings."),
]
SaveState = Annotated[
    Path | None, typer.Option("--save-state", metavar="STATE", help="Save the state at the end, to go on from later.")
]


def video(
    place: Place,
    names: options.Names = None,
    names_file: options.NamesFile = None,
    save: Save = None,
    out: Out = None,
    every: Every = 1,
    start: Start = None,
    end: End = None,
    rate: Rate = None,
    size: Size = None,
    stability: Stability = 0.5,
    keyframe: Keyframe = "1",
    none_of_these: options.NoneOfThese = None,
    background: options.Background = None,
    model: options.Model = "gkc-tiny",
    engine: options.EngineName = None,
    threads: options.Threads = None,
    max_pixels: options.MaxPixels = None,
    as_json: Json = False,
    resume: Resume = None,
    save_state: SaveState = None,
) -> None:
    """Segment a video by names, and follow what it shows.

    Ctrl-C ends the run after the frame at hand and completes all files. Needs the extra video.

    \b
    What is written beside OUT.mp4, the video with coloured regions, the numbers of their tracks and its own sound:
      labels    OUT.labels/000000.png ...: class indices, 255 for none
      panoptic  OUT.panoptic/000000.png ...: classes and objects in VIPSeg's form, explained by OUT.panoptic.json
      tracks    OUT.tracks.json: masks, boxes and areas of every track, in COCO's form for videos
      areas     OUT.areas.csv: the share of the picture that each class covers, a row a frame
      plot      OUT.areas.svg: the same as a plot

    \b
    Examples:
      gkc video clip.mp4 --names "car, person, dog" -o out.mp4 --save overlay,labels,tracks
      gkc video clip.mp4 -n "road, car|truck, sky" --keyframe 4 --size 384 -o out.mp4
      gkc video webcam:0 -n "hand, cup, face" --keyframe auto --save areas,plot -o desk.mp4
      gkc video rtsp://camera/stream -n "person, car" --every 5 --json | jq .tracks
      gkc video frames/ --rate 12 -n "cow, grass" --start 10s --end 1m20s -o cows.mp4
      gkc video part1.mp4 -n "car" -o a.mp4 --save-state s.npz
      gkc video part2.mp4 -o b.mp4 --resume s.npz

    \b
    Exit codes:
      0    all done
      2    nothing done; standard error says what to do
      3    done, but damaged frames were passed over, or the file is cut short
      130  interrupted; what is written is complete up to there
    """  # noqa: D301  # \b keeps the lines apart in the help
    # Here, not above: `gkc --help` and the shell's completion need none of it.
    from gkc.cli.video_run import VideoRun
    from gkc.media import MAX_PIXELS
    from gkc.text.vocabulary import Vocabulary
    from gkc.video.outputs import parse_kinds
    from gkc.video.source import open_source

    vocabulary = _vocabulary(names, names_file, resume)
    aside = None if background is None else Vocabulary.parse(background)
    threshold = options.threshold_of(none_of_these)
    kinds = parse_kinds(save or ("none" if as_json else "overlay"))
    target = out or Path("segmented") / f"{_name_of(place)}.mp4"
    step = _keyframe(keyframe)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    _check_target(place, target, kinds)
    with open_source(
        place,
        every=every,
        start_s=seconds_of(start, "--start"),
        end_s=seconds_of(end, "--end"),
        rate=_rate(rate),
        max_pixels=limit,
    ) as source:
        segmenter = _load(model, engine, threads, limit, stability=stability, keyframe=step, size=size)
        if resume is not None:
            session = _resumed(segmenter, resume, vocabulary)
        else:
            session = segmenter.session(vocabulary or (), none_of_these=threshold, background=aside)
        run = VideoRun(source=source, session=session, kinds=kinds, target=target, is_json=as_json)
        run.do()
        if save_state is not None:
            session.save(save_state)
    run.tell_outcome()
    if run.code:
        raise typer.Exit(run.code)


def seconds_of(text: str | None, option: str) -> float | None:
    """A time such as "10s", "1m20s", "1h", "80" or "1:20.5" in seconds.

    Raises:
        ConfigError: it is none.
    """
    if text is None:
        return None
    word = text.strip().lower()
    if re.fullmatch(r"[0-9]+(:[0-9]{1,2}){0,2}(\.[0-9]+)?", word):
        seconds = 0.0
        for part in word.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    parts = re.fullmatch(r"(?:([0-9.]+)h)?(?:([0-9.]+)m(?:in)?)?(?:([0-9.]+)s)?", word)
    try:
        if parts is not None and word:
            return sum(float(part) * unit for part, unit in zip(parts.groups(), _UNITS.values(), strict=True) if part)
    except ValueError:
        pass
    raise ConfigError(f"{option} {text}: is no time, give 10s, 1m20s or 1:20")


def _vocabulary(names: str | None, names_file: Path | None, resume: Path | None) -> Vocabulary | None:
    """The names to look for; None if a saved state brings its own."""
    from gkc.text.vocabulary import Vocabulary

    if names is not None and names_file is not None:
        raise ConfigError("names are given twice: leave out --names or --names-file")
    if names_file is not None:
        return Vocabulary.read(names_file)
    if names is not None:
        return Vocabulary.parse(names)
    if resume is None:
        raise ConfigError('no names to look for: give --names "cat, sofa, wall" or --names-file FILE')
    return None


def _load(
    model: str,
    engine: Literal["onnx", "torch"] | None,
    threads: int | None,
    max_pixels: int,
    *,
    stability: float,
    keyframe: int | Literal["auto"],
    size: int | None,
) -> VideoSegmenter:
    from gkc.inference.segmenter import Segmenter
    from gkc.video.segmenter import VideoSegmenter

    network = Segmenter.load(model, engine=engine, threads=threads, max_pixels=max_pixels)
    return VideoSegmenter(network, stability=stability, keyframe=keyframe, short_side=size)


def _resumed(segmenter: VideoSegmenter, state: Path, vocabulary: Vocabulary | None) -> Session:
    """The saved session, with new names if there are any."""
    session = segmenter.resume(state)
    if vocabulary is not None:
        session.names = vocabulary
    return session


def _keyframe(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if text.isdigit() and int(text):
        return int(text)
    raise ConfigError(f"--keyframe {text}: give 1, every frame, a larger number, or auto")


def _rate(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ConfigError(f"--rate {text}: give frames per second, such as 25, 29.97 or 30000/1001")
    return rate


def _name_of(place: str) -> str:
    """What to call the results of a place."""
    if re.match(r"[a-z]+://", place) or place == "-":
        return "stream"
    path = Path(place)
    name = path.name or path.resolve().name
    return re.sub(r"[^\w.-]+", "-", name if path.is_dir() else Path(name).stem) or "video"


def _check_target(place: str, target: Path, kinds: Sequence[str]) -> None:
    """Refuse to write over what is read.

    Raises:
        ConfigError: the results would replace the video, or mix with its frames.
    """
    from gkc.video.outputs import paths_of

    if any(path.resolve() == Path(place).resolve() for path in paths_of(kinds, target).values()):
        raise ConfigError(f"{place} would be written over: give another --out")
