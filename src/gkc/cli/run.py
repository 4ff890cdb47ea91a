"""A run over pictures: segments one after the other, saves, tells, and goes on where a picture is bad."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gkc.cli import outputs
from gkc.cli.legend import Tally, print_legend
from gkc.cli.outputs import Job
from gkc.cli.report import FILE, Report, check_resumable
from gkc.cli.terminal import complain, messages, screen, shown, write_line
from gkc.errors import MediaError
from gkc.structures import Segmentation
from gkc.text.vocabulary import Vocabulary

_FEW = 8
"""Up to so many pictures are told one by one, more in one table and with a progress bar."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all pictures of a run share.

    `folder` is None where nothing is written; `has_regions` says that regions are worth counting; `is_json` that
    standard output is for JSON alone.
    """

    vocabulary: Vocabulary
    report: Report
    kinds: Sequence[str]
    folder: Path | None
    has_regions: bool
    is_json: bool

    def fail(self, source: object, error: MediaError) -> None:
        """Tell and note a picture that cannot be segmented."""
        complain(error, kind="skipped")
        self.report.fail(source, error)

    def unfinished(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs whose results are not there yet from an earlier run with the same settings.

        Raises:
            ConfigError: the earlier run had others.
        """
        if not (self.folder and self.kinds and check_resumable(self.folder, self.report.settings)):
            return list(jobs)
        left = [job for job in jobs if not job.is_finished(self.kinds)]
        self.report.skipped = len(jobs) - len(left)
        return left

    def segment(self, jobs: Sequence[Job], ask: Callable[[Path], Segmentation]) -> None:
        """Do the jobs; `ask` segments a picture.

        Raises:
            GkcError: nothing can be written, or what is asked for is wrong. A bad picture alone does not end the run.
        """
        if self.folder:
            self.report.write(self.folder)  # a later --resume compares its settings, even if this run is killed
        tally = None if self.is_json or len(jobs) <= _FEW else Tally(self.vocabulary)
        with _progress(len(jobs), is_shown=tally is not None or not sys.stdout.isatty()) as advance:
            for job in jobs:
                start = time.perf_counter()
                try:
                    result = ask(job.source)
                except MediaError as error:
                    self.fail(job.source, error)
                else:
                    seconds = time.perf_counter() - start
                    outputs.save(result, job, self.kinds)
                    self.report.segmented += 1
                    self._tell(result, seconds, tally)
                advance()
        if tally is not None:
            tally.print()

    def finish(self, jobs: Sequence[Job]) -> None:
        """Write what belongs to the whole run, and tell its outcome.

        Raises:
            MediaError: it cannot be written.
        """
        report = self.report
        report.is_finished = True
        if self.folder:
            finished = [job for job in jobs if job.is_finished(self.kinds)] if self.kinds else []
            for kind in {"coco", "panoptic"}.intersection(self.kinds) if len(finished) > 1 else ():
                outputs.merge_documents(finished, kind, self.folder / f"{kind}.json")
            report.write(self.folder)
        counts = {"segmented": report.segmented, "already done": report.skipped, "failed": len(report.failures)}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        place = f"; results and {FILE} in {shown(self.folder)}" if self.folder else ""
        if not self.is_json:
            screen().print(f"{told}{place}")
        elif report.failures:
            messages().print(f"{told}{place}")

    def _tell(self, result: Segmentation, seconds: float, tally: Tally | None) -> None:
        if self.is_json:
            write_line(result.to_json())
        elif tally is not None:
            tally.add(result)
        else:
            height, width = result.size
            print_legend(result, f"{result.source}  {width} x {height}, {seconds:.2f} s", has_regions=self.has_regions)


@contextmanager
def _progress(total: int, *, is_shown: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error that moves at every call, if there are many pictures and a terminal to see it."""
    columns = TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # Redirected, standard output would end up on standard error, where a pipe does not look.
    disable = not (is_shown and total > _FEW and messages().is_terminal)
    bar = Progress(*columns, console=messages(), transient=True, redirect_stdout=False, disable=disable)
    with bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
