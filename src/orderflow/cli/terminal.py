"""rich's console, on which a text can't act: see `output`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orderflow.cli.called import as_called
from orderflow.cli.output import harmless


class Terminal(Console):
    """
    Control characters of a text are escaped; line ends and tabs stay. What rich itself adds
    (colours, the cursor's moves) is no text and passes.
    """

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
