"""`gkc data`: the data sets to measure on, from a list of them to a folder that is ready."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gkc.data.check import Findings
    from gkc.data.spec import Archive, DataSpec

_AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON each, and nothing else.")]
_SetName = Annotated[str, typer.Argument(metavar="NAME", help="Of a data set; see `gkc data list`.")]


def list_(
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="GROUP", help="Only these: general, video, mess, mess/earth, mess-corrected."),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """List the data sets: classes, images of the split that is measured, metrics and licence.

    A group can stand for its data sets in `gkc evaluate --data`.

    \b
    Examples:
      gkc data list
      gkc data list --group mess/medical
      gkc data list --json

    \b
    Exit codes:
      0  done
      2  no such group
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import screen, shown, write_line
    from gkc.data.catalog import CATALOG, expand

    specs = tuple(CATALOG.values()) if group is None else expand([group])
    if as_json:
        for spec in specs:
            write_line(json.dumps(_facts(spec), ensure_ascii=False))
        return
    width = max(len(spec.name) for spec in specs) + 2
    for title, members in groupby(specs, key=lambda spec: spec.group):
        screen().print(shown(title), style="bold")
        for spec in members:
            counts = f"{_num_classes(spec):>4} classes  {spec.splits[spec.split]:>6} images"
            screen().print(f"  {spec.name:<{width}}{counts}  {', '.join(spec.metrics)}  ({shown(spec.licence)})")


def describe(name: _SetName, as_json: _AsJson = False) -> None:
    """Tell all there is to know of a data set: how to get it, what it must look like, what to run next.

    \b
    Examples:
      gkc data describe context59
      gkc data describe mess-cwfid --json

    \b
    Exit codes:
      0  done
      2  no such data set
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import screen, shown, write_line
    from gkc.data.catalog import find_spec, layout

    spec = find_spec(name)
    if as_json:
        write_line(json.dumps(_facts(spec) | {"layout": layout(spec)}, ensure_ascii=False))
        return
    screen().print(shown(spec.name), style="bold")
    screen().print(f"  {shown(spec.title)}")
    for title, value in _told(spec):
        screen().print(f"  {title:<13}{shown(value)}")
    _print_list(f"files, in {spec.folder}/ or the folder you give", layout(spec))
    _print_list("next", _commands(spec))


def prepare(
    name: _SetName,
    sources: Annotated[
        list[Path],
        typer.Option(
            "--from", metavar="PATH", help="An archive as published, or the folder it was unpacked to. Repeatable."
        ),
    ],
    target: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new folder; ROOT/NAME is found by name.")],
    split: Annotated[
        str | None, typer.Option("--split", metavar="SPLIT", help="Another than the one that is measured.")
    ] = None,
    password: Annotated[str | None, typer.Option("--password", help="Of an encrypted archive.")] = None,
) -> None:
    """Turn a published data set into a plain folder: images, label maps, classes.json.

    Archives are compared with their published checksums where those are known. They are only read, never changed or
    deleted. A run that was stopped goes on where it was when it is started again; a finished one is left alone.

    \b
    Examples:
      gkc data prepare voc20 --from VOCtrainval_11-May-2012.tar --to sets/voc20
      gkc data prepare mess-cub-200 --from CUB_200_2011.tgz --from segmentations.tgz --to sets/mess-cub-200
      gkc data prepare mess-cwfid --from dataset --to sets/mess-cwfid

    \b
    Exit codes:
      0  prepared, or already there
      2  it cannot be: a source is missing or not as published, the folder is used otherwise, or the disk is full
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.session import bar
    from gkc.cli.terminal import complain, screen, shown
    from gkc.data.catalog import find_spec
    from gkc.data.prepare import prepare

    spec = find_spec(name)
    with bar("preparing") as advance:
        done = prepare(spec, sources, target, split=split, password=password, progress=advance)
    for note in done.notes:
        complain(note, kind="note")
    what = f"{done.num_written} written" if done.num_written else "all there already, nothing written"
    screen().print(f"{shown(done.folder)}: {done.num_images} images, {what}")


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A plain folder, or one in COCO's form.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="It is this data set, as published or prepared.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="SPLIT", help="With --name: another than the one that is measured.")
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Find what is wrong in a labelled folder: unreadable images, sizes, ids without class, empty masks.

    Every problem is one line that names the file.

    \b
    Examples:
      gkc data check photos
      gkc data check sets/voc20
      gkc data check VOCdevkit --name voc20 --json

    \b
    Exit codes:
      0  fine; notes may be told
      2  problems that measuring or training would stumble over
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.session import bar
    from gkc.cli.terminal import complain, screen, shown, write_line

    with bar("checking") as advance:
        findings = _findings(folder, name, split, advance)
    for problem in findings.problems:
        kind = "problem" if problem.is_fatal else "note"
        if as_json:
            write_line(json.dumps({"path": str(problem.path), "what": problem.what, "kind": kind}, ensure_ascii=False))
        else:
            complain(problem, kind=kind)
    num_fatal = sum(problem.is_fatal for problem in findings.problems)
    if not as_json:
        rest = len(findings.problems) - num_fatal
        screen().print(f"{shown(folder)}: {findings.num_images} images, {num_fatal} problems, {rest} notes")
    if num_fatal:
        raise typer.Exit(2)


def _findings(folder: Path, name: str | None, split: str | None, advance: Callable[[int, int], None]) -> Findings:
    from gkc.data.catalog import find_spec, open_set
    from gkc.data.check import Findings, Problem, check_reader, check_set
    from gkc.errors import DataError

    if name is None:
        return check_set(folder, _kind_of(folder), progress=advance)
    try:
        reader = open_set(find_spec(name), folder, split=split)
    except DataError as error:
        return Findings(num_images=0, problems=(Problem(path=Path(error.path), what=error.problem),))
    return check_reader(reader, progress=advance)


def _kind_of(folder: Path) -> str:
    """The form of a folder that names none: plain, unless it has only COCO's documents."""
    if not (folder / "labels").is_dir():
        for kind in ("panoptic", "instances"):
            if (folder / f"{kind}.json").is_file():
                return f"coco-{kind}"
    return "folder"


def _num_classes(spec: DataSpec) -> int:
    from gkc.text.vocabularies import named_vocabulary

    return len(named_vocabulary(spec.vocabulary))


def _facts(spec: DataSpec) -> dict[str, Any]:
    """All fields of a row, and its number of classes."""
    return asdict(spec) | {"classes": _num_classes(spec)}


def _told(spec: DataSpec) -> Iterator[tuple[str, str]]:
    """What there is to say of a data set, in lines of title and text."""
    yield "group", spec.group
    yield "classes", f"{_num_classes(spec)} ({spec.vocabulary})"
    if spec.prompts is not None:
        yield "prompts", spec.prompts
    yield "images", ", ".join(f"{split} {count}" for split, count in spec.splits.items())
    yield "measured on", spec.split
    yield "metrics", ", ".join(spec.metrics)
    yield "ignored", spec.ignored
    if spec.unseen is not None:
        yield "unseen", spec.unseen
    if spec.interest is not None:
        yield "interest", f"{len(spec.interest)} classes"
    for option, value in spec.options.items():
        yield option, str(value)
    yield "licence", spec.licence
    if spec.source is not None:
        yield "home page", spec.source
    yield "to get it", spec.obtain
    for archive in spec.archives:
        yield "archive", _about(archive)
    for note in spec.notes:
        yield "note", note


def _about(archive: Archive) -> str:
    known = asdict(archive)
    facts = [f"{name} {known[name]}" for name in ("bytes", "sha256", "md5") if known[name]]
    where = [f"unpacked in {archive.folder}/"] if archive.folder else []
    return ", ".join([archive.name, *facts, *where])


def _commands(spec: DataSpec) -> list[str]:
    sources = " ".join(f"--from {archive.name}" for archive in spec.archives) or f"--from {spec.folder}"
    return [
        f"gkc data prepare {spec.name} {sources} --to sets/{spec.name}",
        f"gkc data check sets/{spec.name}",
        f"gkc evaluate --model gkc-tiny --data {spec.name} --root sets --out report",
    ]


def _print_list(title: str, lines: Iterator[str] | list[str] | tuple[str, ...]) -> None:
    from gkc.cli.terminal import screen, shown

    screen().print(f"  {title}:")
    for line in lines:
        screen().print(f"    {shown(line)}")
