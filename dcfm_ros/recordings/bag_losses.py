"""What is missing of a rosbag."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class BagLosses:
    """What a bag should hold and does not; complete once all of its frames were read."""

    notes: list[str] = field(default_factory=list)
    """Files that are missing or end early, messages that metadata.yaml promises."""
    num_undecodable: int = 0
    """Messages that are not valid images."""
    first_undecodable: str = ''
    """What is wrong with the first of them."""

    def note(self, line: str) -> None:
        """Add a line, once."""
        if line not in self.notes:
            self.notes.append(line)

    def add_undecodable(self, topic: str, time_ns: int, error: Exception) -> None:
        """Count a message that was recorded at `time_ns`."""
        self.num_undecodable += 1
        if not self.first_undecodable:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.first_undecodable = f'{topic} at {time_ns / 1e9:.3f} s: {reason}'

    def lines(self) -> list[str]:
        """All losses in words; empty if nothing is lost."""
        if not self.num_undecodable:
            return self.notes
        first = f'the first: {self.first_undecodable}'
        return [*self.notes, f'{self.num_undecodable} messages cannot be decoded, {first}']
