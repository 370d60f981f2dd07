"""Replay of recordings: what the node would make of them, as figures and as a report.

`offline` runs the engine over a bag, `fleet` over many; `run` is what either leaves behind, and
`quality` the comparison of its masks with labels and with the per-frame network. `report` writes
it down, `compare` sets two reports side by side.
"""
