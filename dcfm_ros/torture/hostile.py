"""Every node under messages that no well-behaved publisher sends, with good ones between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
import random
import time
from typing import Any

from dcfm_ros.benchmark.sections import Section
from dcfm_ros.play.spinning import spinning
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig
from dcfm_ros.torture.campaign import Piece, Torture, Verdict
from dcfm_ros.torture.expected import checksums_of_masks
from dcfm_ros.torture.figures import mean_of, tenths_by_run
from dcfm_ros.torture.peer import Peer
from dcfm_ros.torture.targets import targets
from dcfm_ros.torture.under_fire import NodeUnderFire

_WEIGHTS = {'raw': 4, 'compressed': 3, 'cloud': 3, 'ground': 1, 'runs': 1}
_ATTACKS = 5
"""Hostile messages to a node before it is asked."""
_PAUSE_S = 0.002
"""After each: the next one would replace it before it is looked at."""
_SIZE = 96, 128
_MOST_LINES_PER_S = 6.0
"""That a node logs: one a second of each kind."""
_FREE_LINES = 30
"""In a piece, however short: the first of each kind come at once."""


class Hostile(Torture):
    """Fields at and beyond every limit, sizes that lie, cut and changed bytes, any stamp."""

    unit = 'messages'
    full = 100_000
    piece = 2_500

    def begin(self, keep: ExitStack) -> None:
        """Start all nodes, and wait for their first answers."""
        drive = DriveConfig(height=_SIZE[0], width=_SIZE[1], num_frames=1, seed=self.seed)
        (frame,) = synthetic_frames(drive)
        mask = checksums_of_masks([frame.image], 1, 1)[0]
        peer = keep.enter_context(spinning(Peer))
        self._nodes = {
            target.name: NodeUnderFire(target, peer, self.folder)
            for target in targets(frame.image)
        }
        for node in self._nodes.values():
            keep.callback(node.stop)
            if node.target.program == 'dcfm_ros.node':
                node.expected = mask
            node.start()

    def run_piece(self, begin: int, count: int) -> Piece:
        """Send hostile messages, and ask each node after every few of them."""
        rng = random.Random(f'{self.seed} {begin}')
        seen: Counter[str] = Counter()
        waiting = dict.fromkeys(self._nodes, 0)
        before = {name: node.account() for name, node in self._nodes.items()}
        lines = {name: node.log_lines for name, node in self._nodes.items()}
        began_s = time.monotonic()
        for _ in range(count):
            (name,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            self._nodes[name].attack(rng)
            waiting[name] += 1
            time.sleep(_PAUSE_S)
            if waiting[name] == _ATTACKS:
                waiting[name] = 0
                seen += self._ask(name)
        passed_s = time.monotonic() - began_s
        figures: dict[str, Any] = {}
        for name, node in self._nodes.items():
            seen += self._ask(name)
            if node.has_died:
                seen['crashes'] += 1
                node.start()
                continue
            after = node.account()
            seen['unaccounted'] += abs(after['unaccounted'] - before[name]['unaccounted'])
            figures[f'{name}_unanswered'] = seen[f'{name} unanswered']
            figures[f'{name}_sent'] = after['sent'] - before[name]['sent']
            figures[f'{name}_refused'] = after['refused'] - before[name]['refused']
            figures[f'{name}_memory_mb'] = node.state()['memory_mb']
            more_lines = max(node.log_lines - lines[name] - _FREE_LINES, 0)
            figures[f'{name}_lines_per_s'] = more_lines / passed_s
        return {**{key: seen[key] for key in _COUNTS}, **figures}

    def _ask(self, name: str) -> Counter[str]:
        answer = self._nodes[name].ask()
        return Counter({answer: 1, f'{name} {answer}': 1})

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """No crash, no wrong answer, nothing uncounted, no growth, no flood."""
        total = {name: sum(piece[name] for piece in pieces) for name in _COUNTS}
        verdicts = [
            Verdict.zero('crashes', total['crashes']),
            Verdict.zero('good messages with a wrong answer', total['wrong']),
            Verdict.zero('good messages without an answer', total['unanswered']),
            Verdict.zero('messages neither answered nor counted', total['unaccounted']),
        ]
        for name in _WEIGHTS:
            most = max(piece.get(f'{name}_lines_per_s', 0.0) for piece in pieces)
            what = f'{name}: lines of the log per second'
            verdicts.append(Verdict.at_most(what, round(most, 2), _MOST_LINES_PER_S))
            key = f'{name}_memory_mb'
            for _run, tenths in tenths_by_run([piece for piece in pieces if key in piece]):
                growth = round(mean_of(tenths[-1], key) - mean_of(tenths[1], key), 2)
                verdicts.append(Verdict.at_most(f'{name}: memory growth, MB', growth, 5.0))
        return verdicts

    def sections(self, pieces: Sequence[Piece]) -> list[Section]:
        """What was answered, and what each node counted."""
        total = [{'what': name, 'count': sum(p[name] for p in pieces)} for name in _COUNTS]
        rows = [
            {
                'node': name,
                **{
                    what: sum(piece.get(f'{name}_{what}', 0) for piece in pieces)
                    for what in ('sent', 'refused', 'unanswered')
                },
                'memory_mb_max': max(piece.get(f'{name}_memory_mb', 0.0) for piece in pieces),
            }
            for name in _WEIGHTS
        ]
        return [Section('Good messages', total), Section('By node', rows, _NOTE)]


_COUNTS = ('right', 'wrong', 'unanswered', 'unaccounted', 'crashes')
_NOTE = (
    '`sent`: messages, good ones included, on the topic whose every message the node answers or '
    'counts; hostile ones go to its other topics, too. What was sent and neither refused nor '
    'answered was lost (bytes that are no message), replaced, or without a match: all counted.'
)
