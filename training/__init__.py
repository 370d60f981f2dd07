"""Offline training and evaluation.

The parts: ``datasets``, ``still_motion``, ``drive_cache``, ``augment``, ``clip_pairs``, ``data``,
``losses``, ``schedule``, ``module``, ``train``, ``metrics``, ``evaluate``.
"""

import os

# Read when torch loads its thread pool. By default waiting threads spin, which on a CPU that is
# shared with anything else made a training step 4 times slower (3.6 s, passive 0.9 s; 2 cores).
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
