"""Where things lie: the repository, and the data beside it that some tests want."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / 'shared' / 'data'
CAMVID = DATA / 'camvid'
