"""Replay of recordings: what the engine or the node makes of them, as statistics and a report.

`recording` is what is replayed; `offline` runs the engine over it, `online` plays it to the node,
`fleet` replays many. `recorder` collects the frames of a run, `statistics` and `quality`
calculate, `report` writes, `compare` sets two reports side by side.
Uses ``training``, ``play`` and the rooms below them.
"""
