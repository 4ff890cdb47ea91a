"""`gkc names check` and `gkc names synonyms`: a look over a list of names, and further words for them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gkc.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gkc.engines.onnx import OnnxTextEncoder
    from gkc.text.review import Remark
    from gkc.text.synonyms import SynonymRow, SynonymTable
    from gkc.text.vocabularies import Row

_TITLES = {
    "duplicate": "twice in the list (refused when segmenting)",
    "near": "almost the same",
    "ambiguous": "several meanings",
    "alias": "other names that may help",
}


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One class a line, name|synonym, or a JSON list.")],
    model: options.Model = "gkc-tiny",
    near: Annotated[
        float | None,
        typer.Option("--near", min=0, max=2, metavar="DISTANCE", help="Text distance that is near.  [default: 0.05]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a remark, and nothing else.")] = False,
) -> None:
    """Find duplicates, names that mean almost the same, ambiguous words, and further names that may help.

    \b
    Examples:
      gkc names check names.txt
      gkc names check names.txt --near 0.1 --json

    \b
    Exit codes:
      0  the list can be used; remarks are advice
      2  it cannot: a name stands twice, or the file is no list of names
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import write_line
    from gkc.text.review import NEAR, review
    from gkc.text.vocabulary import read_categories

    categories = read_categories(file)
    remarks = review(categories, _text_encoder(model), near=NEAR if near is None else near)
    if as_json:
        for remark in remarks:
            write_line(json.dumps(asdict(remark), ensure_ascii=False))
    else:
        _show(remarks, f"{len(categories)} classes, {sum(len(category.names) for category in categories)} names")
    if any(remark.kind == "duplicate" for remark in remarks):
        raise typer.Exit(2)


def synonyms(
    vocabulary: Annotated[
        str,
        typer.Argument(
            metavar="VOCABULARY|FILE",
            help="coco-133, coco-stuff-171, voc-20, context-59, ade-150, cityscapes-19, vipseg-124 or msrc-23, "
            "or a file: one class a line, or a JSON list.",
        ),
    ],
    wordnet: Annotated[
        Path | None,
        typer.Option("--wordnet", metavar="DIR", help="Folder of WordNet.  [default: the installed one]"),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            metavar="NAMES|FILE",
            help="Names that no class may have as a synonym; the 30 of the published splits never are. Repeatable.",
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option("--decisions", metavar="FILE", help="Your own decisions in place of those that come with GKC."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the table, as JSON.")] = None,
) -> None:
    """Find further words for every class in WordNet, to draw prompts from in training.

    Shows for every class the meaning taken, the words kept and those dropped, each with the reason. Look the table
    over before you train with it; docs/synonyms.md says how.

    \b
    Examples:
      gkc names synonyms coco-133
      gkc names synonyms names.txt --held-out "tyre, box" -o synonyms.json
      gkc names synonyms names.txt --wordnet WordNet-3.0/dict --decisions decisions.json

    \b
    Exit codes:
      0  done
      2  no such list of names, no WordNet, or decisions that do not fit it
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.media import write_atomically
    from gkc.text.synonym_builder import REVIEW, build_table, read_decisions
    from gkc.text.synonyms import format_table
    from gkc.text.wordnet import WordNet, find_wordnet

    name, rows = _rows(vocabulary)
    unseen = [word for given in held_out or () for word in _held_out(given)]
    made = read_decisions(decisions or REVIEW, name)
    table = build_table(name, rows, WordNet(wordnet or find_wordnet()), made, held_out=unseen)
    if out is not None:
        write_atomically(out, format_table(table).encode())
    _show_table(table)


def _rows(vocabulary: str) -> tuple[str, Sequence[Row]]:
    """The name and the classes of a published list, or of a file."""
    from gkc.errors import VocabularyError
    from gkc.text.vocabularies import VOCABULARIES, Row, named_vocabulary
    from gkc.text.vocabulary import Vocabulary

    if vocabulary in VOCABULARIES:
        return vocabulary, named_vocabulary(vocabulary)
    if not Path(vocabulary).is_file():
        known = ", ".join(VOCABULARIES)
        raise VocabularyError(f"{vocabulary!r} is no file and no known vocabulary: use one of {known}")
    categories = Vocabulary.read(vocabulary)
    rows = [Row(name=c.name, published=c.name, aliases=c.synonyms, is_thing=c.is_thing) for c in categories]
    return Path(vocabulary).stem, rows


def _held_out(given: str) -> tuple[str, ...]:
    """The names of a published split, of a file, or as given."""
    from gkc.text.vocabularies import SPLITS, named_split
    from gkc.text.vocabulary import Vocabulary

    if given in SPLITS:
        return named_split(given)
    return (Vocabulary.read(given) if Path(given).is_file() else Vocabulary.parse(given)).prompts


def _show_table(table: SynonymTable) -> None:
    from gkc.cli.terminal import screen, shown

    for row in table.rows:
        screen().print(shown(row.name), style="bold")
        for title, text in _lines(row):
            screen().print(f"  {shown(title)}: {shown(text)}")
    words = [len(row.synonyms) for row in table.rows]
    unknown = sum(row.sense is None for row in table.rows)
    mean = sum(words) / len(words)
    screen().print(f"{len(words)} classes, {sum(words)} synonyms, {mean:.2f} a class; {unknown} without a meaning")


def _lines(row: SynonymRow) -> Iterator[tuple[str, str]]:
    if row.sense is not None:
        yield "meaning", f"{row.sense}, {row.gloss}"
    yield "synonyms", ", ".join(row.synonyms) or "none"
    if row.narrower:
        yield "narrower", ", ".join(row.narrower)
    for reason, dropped in row.dropped.items():
        yield f"dropped ({reason})", ", ".join(dropped)


def _text_encoder(model: str) -> OnnxTextEncoder:
    """The text tower of a model, without its network."""
    from gkc import zoo
    from gkc.engines.onnx import OnnxTextEncoder

    files = zoo.find(model)
    return OnnxTextEncoder(files.path("text"), files.path("tokenizer"), space=files.card.text_space)


def _show(remarks: Sequence[Remark], total: str) -> None:
    from gkc.cli.terminal import screen, shown

    for kind, title in _TITLES.items():
        of_kind = [remark for remark in remarks if remark.kind == kind]
        if of_kind:
            screen().print(f"{title}:", style="bold")
            for remark in of_kind:
                screen().print(f"  {shown(remark.advice)}")
            screen().print()
    screen().print(f"{total}: {len(remarks)} remarks" if remarks else f"{total}: nothing to remark")
