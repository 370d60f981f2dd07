"""The torture test `faults`: a deck of faults, shuffled anew when it is used up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from random import Random
import time
from typing import Any

from dcfm_ros.benchmark.sections import Section
from dcfm_ros.percentiles import percentiles
from dcfm_ros.play.spinning import spinning
from dcfm_ros.torture.campaign import Piece, Torture, Verdict
from dcfm_ros.torture.faults import control, endings, host, inputs, other_nodes, writers
from dcfm_ros.torture.faults.camera import Camera
from dcfm_ros.torture.faults.pictures import make_pictures
from dcfm_ros.torture.faults.stage import Fault, Stage

RECOVERY_S = 2.0
"""From the end of a fault to the mask of a good image, at most."""
COMPILING_S = 10.0
"""The same where the network has to be compiled for the size of the image first."""
END_S = 5.0
"""From a signal to the end of a process, at most."""
_GIVE_UP_S = 30.0
FAULTS: tuple[Fault, ...] = (
    *inputs.FAULTS, *control.FAULTS, *host.FAULTS, *endings.FAULTS, *other_nodes.FAULTS,
    *writers.FAULTS,
)  # fmt: skip


class Faults(Torture):
    """Faults of all kinds beside a node, one after another, and what comes after each."""

    unit = 'faults'
    full = 1200
    piece = 6
    needs_profile = True  # without it a publisher may no longer reach a node that was frozen
    faults: Sequence[Fault] = FAULTS

    def begin(self, keep: ExitStack) -> None:
        """Start a node and the camera that it answers."""
        pictures = make_pictures(self.seed)
        camera = keep.enter_context(spinning(lambda context: Camera(context, pictures)))
        self._stage = Stage(camera, self.folder)
        keep.callback(self._stage.close)
        self._stage.start()

    def run_piece(self, begin: int, count: int) -> Piece:
        """Draw the faults by their number in the whole, and do them."""
        return {'faults': [self._do(index) for index in range(begin, begin + count)]}

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """All recovered and all accounted for, nothing left."""
        faults = [fault for piece in pieces for fault in piece['faults']]
        compiled = {fault.name for fault in self.faults if fault.compiles}
        recovered = [fault for fault in faults if fault['recovery_s'] is not None]
        slow = [f['recovery_s'] for f in recovered if f['fault'] in compiled]
        quick = [f['recovery_s'] for f in recovered if f['fault'] not in compiled]
        ends = [fault['end_s'] for fault in faults if fault['end_s'] is not None]
        zeros = {
            'faults that failed, see their `problem`': lambda f: bool(f['problem']),
            'faults that were not recovered from': lambda f: not f['recovered'],
            'images neither answered nor counted': lambda f: f['unaccounted'],
            'masks that were wrong, or of no image': lambda f: f['wrong'],
            'exit codes other than the due one': lambda f: f['wrong_code'],
            'processes left': lambda f: f['strays'],
            'files in shared memory left': lambda f: len(f['left']),
        }
        verdicts = [Verdict.zero(what, sum(map(of, faults))) for what, of in zeros.items()]
        for what, seconds, limit in (
            ('slowest recovery, s', quick, RECOVERY_S),
            ('slowest recovery where the network is compiled, s', slow, COMPILING_S),
            ('slowest end, s', ends, END_S),
        ):
            if seconds:
                verdicts.append(Verdict.at_most(what, max(seconds), limit))
        return verdicts

    def sections(self, pieces: Sequence[Piece]) -> list[Section]:
        """A row for each kind of fault."""
        kinds: dict[str, list[dict[str, Any]]] = {}
        for piece in pieces:
            for fault in piece['faults']:
                kinds.setdefault(fault['fault'], []).append(fault)
        rows = []
        for name, faults in sorted(kinds.items()):
            row: dict[str, Any] = {
                'fault': name,
                'count': len(faults),
                'recovered': sum(fault['recovered'] for fault in faults),
            }
            for what in ('recovery_s', 'end_s'):
                values = [fault[what] for fault in faults if fault[what] is not None]
                found = percentiles(values) if values else {}
                row |= {f'{what[:-2]}_{p}_s': found.get(p) for p in ('p50', 'p95', 'max')}
            row['images'] = sum(fault['images'] for fault in faults)
            row['unknown'] = sum(fault['unknown'] for fault in faults)
            rows.append(row)
        problems = [
            {'fault': fault['fault'], 'number': fault['number'], 'problem': fault['problem']}
            for piece in pieces
            for fault in piece['faults']
            if fault['problem']
        ]
        tables = [Section('Faults', rows, _NOTE)]
        return [*tables, Section('Problems', problems)] if problems else tables

    def fault_of(self, index: int) -> Fault:
        """The fault with a number of the whole: every kind comes once in each deck."""
        deck, place = divmod(index, len(self.faults))
        return Random(f'{self.seed} {deck}').sample(list(self.faults), len(self.faults))[place]

    def _do(self, index: int) -> dict[str, Any]:
        """Do a fault and see what comes after it; if that fails, go on with another node."""
        stage, fault = self._stage, self.fault_of(index)
        stage.random = Random(f'{self.seed} fault {index}')
        seen = {
            'fault': fault.name, 'number': index, 'problem': '', 'recovered': False,
            'recovery_s': None, 'asked': 0, 'end_s': None, 'wrong_code': False, 'strays': 0,
            'left': (), 'unaccounted': 0, 'unknown': 0, 'wrong': 0, 'images': 0,
        }  # fmt: skip
        begin_s = time.monotonic()
        try:
            _observe(stage, fault, seen)
        except (AssertionError, TimeoutError, RuntimeError) as error:
            seen['problem'] = f'{type(error).__name__}: {error}'
            if fault.of_node:
                stage.close()
                stage.camera.is_checking = True
                stage.start()
        return seen | {'took_s': round(time.monotonic() - begin_s, 2)}


def _observe(stage: Stage, fault: Fault, seen: dict[str, Any]) -> None:
    camera = stage.camera
    if fault.of_node:
        stage.begin_to_count()
    if (ending := fault.cause(stage)) is not None:
        seen |= {
            # A command may take as long as it needs.
            'end_s': ending.seconds if fault.due_code == 0 else None,
            'wrong_code': ending.code != fault.due_code,
            'strays': ending.strays,
            'left': ending.left,
        }
    if not fault.of_node:
        seen['recovered'] = True
        return
    if (recovered := stage.recover(_GIVE_UP_S)) is None:
        said = f'{camera.health} {stage.node.output[-1000:]}'
        raise TimeoutError(f'no image was answered for {_GIVE_UP_S:.0f} s: {said}')
    seen['recovery_s'], seen['asked'] = recovered
    if not fault.is_exact:
        balance = stage.settle(is_exact=False)
        # What was sent while nobody was subscribed, or by another publisher, is not known.
        seen['unknown'] = abs(balance.of_masks) + abs(balance.on_the_way)
        seen['unaccounted'] += abs(balance.in_node)
        seen['images'] += camera.sent
        seen['wrong'] += camera.masks['wrong'] + camera.masks['unexpected']
        stage.begin_to_count()
    unanswered, balance = stage.coda(), stage.settle()
    missing = abs(balance.in_node) + abs(balance.of_masks) + abs(balance.on_the_way)
    seen['unaccounted'] += missing
    seen['images'] += camera.sent
    seen['wrong'] += camera.masks['wrong'] + camera.masks['unexpected']
    seen['recovered'] = not unanswered
    if missing:
        seen['problem'] = f'{balance}'


_NOTE = (
    'Recovery: from the end of the fault, or from the moment at which the node that was started '
    'after it is ready, to the mask of the first good image that was answered; end: from a signal '
    'to the end of the process. `unknown`: images that cannot be accounted for from outside, '
    'since nobody was subscribed when they were sent, or their publisher was killed, or there '
    'were two; after each such fault the count begins anew and must be even.'
)
