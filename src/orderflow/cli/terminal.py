"""rich's console, on which a text can't act: see `output`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orderflow.cli.called import as_called
from orderflow.cli.output import harmless

PIPE_WIDTH = 160
"""Columns where nobody looks, and COLUMNS does not say otherwise: a row is one line."""
_PADDING = re.compile(r" +(?=\n)")


class Terminal(Console):
    """
    Control characters of a text are escaped; line ends and tabs stay. What rich itself adds
    (colours, the cursor's moves) is no text and passes. In a pipe or a file no line ends in blanks.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if "width" not in settings and not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PIPE_WIDTH

    @property
    def file(self) -> IO[str]:
        """Where it writes."""
        file = super().file
        return file if _is_tty(file) else cast("IO[str]", _Trimmed(file))

    @file.setter
    def file(self, file: IO[str]) -> None:
        self._file = file

    def render_str(self, text: str, **options: Any) -> Text:
        """A message, with the commands in it as this one was called."""
        return super().render_str(as_called(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The renderable's segments, escaped."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)


class _Trimmed:
    """A file that gets no blanks at the end of a line: padding is for who looks."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write it without that padding. What stands before no line end is kept."""
        return self._file.write(_PADDING.sub("", text))


def _is_tty(file: IO[str]) -> bool:
    try:
        return file.isatty()
    except (ValueError, AttributeError):
        # Closed, or no file at all.
        return False
