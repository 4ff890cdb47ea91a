"""`gkc segment`: pictures and names in; masks, pictures and tables out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gkc.cli import options
from gkc.errors import ConfigError, GkcError, MediaError

if TYPE_CHECKING:
    from gkc.structures import Segmentation
    from gkc.text.vocabulary import Vocabulary


def segment(
    places: options.Places,
    names: options.Names = None,
    names_file: options.NamesFile = None,
    save: options.Save = None,
    out: options.Out = None,
    task: options.TaskName = "semantic",
    none_of_these: options.NoneOfThese = None,
    background: options.Background = None,
    tiling: options.TilingName = None,
    views: options.ViewsName = None,
    most_classes: options.MostClasses = None,
    precision: options.PrecisionName = None,
    model: options.Model = "gkc-tiny",
    engine: options.EngineName = None,
    threads: options.Threads = None,
    max_pixels: options.MaxPixels = None,
    recursive: options.Recursive = False,
    as_json: options.Json = False,
    resume: options.Resume = False,
) -> None:
    """Segment pictures by names.

    \b
    Examples:
      gkc segment photo.jpg --names "cat|kitten, sofa, wall"
      gkc segment photos/ --names-file names.txt --save overlay,labels --out results --resume
      gkc segment "shots/*.png" -n "car, person" --task panoptic --save panoptic,coco
      gkc segment photo.jpg -n "dog, ball" --none-of-these --background "grass, sky"
      gkc segment aerial.tif -n "road, roof, tree" --tiling 768
      gkc segment aerial.tif -n "road, roof, tree" --model catseg-b --views full
      find . -name "*.jpg" | gkc segment - -n "bird, sky" --json | jq .segments

    \b
    Exit codes:
      0    all done
      2    nothing done; standard error says what to do
      3    some pictures failed; report.json lists them
      130  interrupted
    """  # noqa: D301  # \b keeps the lines apart in the help
    # Here, not above: `gkc --help` and the shell's completion need none of it.
    from gkc.cli.outputs import parse_kinds, plan
    from gkc.cli.report import Report, settings_of
    from gkc.cli.run import Run
    from gkc.inference.tiling import TiledSegmenter, Tiling
    from gkc.text.vocabulary import Vocabulary

    vocabulary = _vocabulary(names, names_file)
    aside = None if background is None else Vocabulary.parse(background)
    threshold = options.threshold_of(none_of_these)
    windows = None if tiling is None else Tiling.parse(tiling)
    kinds = parse_kinds(save or ("none" if as_json else "overlay"))
    folder = out or Path("segmented")
    pictures, failures = _find(_with_standard_input(places), recursive=recursive)
    jobs = plan(pictures, folder)
    run = Run(
        vocabulary=vocabulary,
        report=Report(
            settings=settings_of(
                vocabulary,
                aside,
                model=model,
                task=task,
                none_of_these=threshold,
                tiling=tiling and str(windows),
                views=views,
                most_classes=most_classes,
                precision=precision,
            ),
            pictures=len(jobs) + len(failures),
        ),
        kinds=kinds,
        folder=folder if kinds or out else None,
        has_regions=task != "semantic",
        is_json=as_json,
    )
    for error in failures:
        run.fail(error.path, error)
    left = run.unfinished(jobs) if resume else jobs
    if left:
        from gkc.inference.segmenter import Segmenter

        limit = {} if max_pixels is None else {"max_pixels": max_pixels}
        whole = Segmenter.load(
            model,
            engine=engine,
            threads=threads,
            views=views,
            most_classes=most_classes,
            precision=precision,
            **limit,
        )
        look = whole if windows is None else TiledSegmenter(whole, windows)

        def ask(picture: Path) -> Segmentation:
            return look(picture, vocabulary, task=task, none_of_these=threshold, background=aside)

        run.segment(left, ask)
    run.finish(jobs)
    if run.report.failures:
        raise typer.Exit(3)


def _vocabulary(names: str | None, names_file: Path | None) -> Vocabulary:
    from gkc.text.vocabulary import Vocabulary

    if names is not None and names_file is not None:
        raise ConfigError("names are given twice: leave out --names or --names-file")
    if names_file is not None:
        return Vocabulary.read(names_file)
    if names is None:
        raise ConfigError('no names to look for: give --names "cat, sofa, wall" or --names-file FILE')
    return Vocabulary.parse(names)


def _with_standard_input(places: Iterable[str]) -> Iterator[str]:
    """The places, with the lines of standard input for a "-"."""
    for place in places:
        if place == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield place


def _find(places: Iterable[str], *, recursive: bool) -> tuple[list[Path], list[MediaError]]:
    """The pictures in these places, and an error for every place that has none.

    Raises:
        GkcError: there is no picture in any of them.
    """
    from gkc.media import find_images

    pictures: list[Path] = []
    failures: list[MediaError] = []
    for place in places:
        try:
            pictures += find_images([place], recursive=recursive)
        except MediaError as error:
            failures.append(error)
    if not pictures:
        raise failures[0] if failures else GkcError("no pictures are given: give files, folders or patterns")
    return pictures, failures
