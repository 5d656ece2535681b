"""Holding back: text goes out as it comes, but nothing that might be the beginning of a stop string, wherever tokens part it."""

from collections.abc import Sequence


class Held:
    """Text on its way out. It ends before the stop string that is complete first; of several at once, before the longest."""

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops), "a stop string has characters"
        self.stops, self.stopped = stops, False
        self._kept = ""

    def say(self, text: str) -> str:
        """Take some text and give what may go out."""
        if not self.stops or self.stopped:
            return "" if self.stopped else text
        self._kept += text
        found = [(place + len(stop), place) for stop in self.stops if (place := self._kept.find(stop)) >= 0]
        if found:
            self.stopped = True
            out, self._kept = self._kept[: min(found)[1]], ""
            return out
        sure = len(self._kept) - self._doubtful()
        out, self._kept = self._kept[:sure], self._kept[sure:]
        return out

    def rest(self) -> str:
        """Give what was held back, where the text ends."""
        out, self._kept = self._kept, ""
        return out

    def _doubtful(self) -> int:
        """Give the length of the longest end of the text that begins a stop string."""
        most = min(len(self._kept), max(map(len, self.stops)) - 1)
        return next((size for size in range(most, 0, -1) if any(stop.startswith(self._kept[-size:]) for stop in self.stops)), 0)
