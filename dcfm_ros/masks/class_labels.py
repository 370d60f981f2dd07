"""`ClassLabels`: what the ids of a mask mean, as the topic `labels` has it; no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import json

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.overlay import RGB
from dcfm_ros.masks.palette import parse_colour

_UNKNOWN_COLOUR: RGB = (128, 128, 128)


@dataclass(frozen=True)
class ClassLabels:
    """Names and colours by class id; empty until labels have arrived."""

    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, RGB] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> ClassLabels:
        """Read {"0": {"name": "sky", "rgb": [128, 128, 128]}, ...}.

        Raises:
            ValueError: If it is something else.
        """
        try:
            entries = {int(key): entry for key, entry in json.loads(text).items()}
            names = {index: _name(entry['name']) for index, entry in entries.items()}
            colours = {index: _colour(entry['rgb']) for index, entry in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            allowed = '{"0": {"name": "sky", "rgb": [128, 128, 128]}, ...}'
            raise ValueError(f'`labels` must be {allowed}, got {text[:80]!r}') from error
        if not all(0 <= index <= 255 for index in entries):
            wrong = next(index for index in entries if not 0 <= index <= 255)
            raise ValueError(f'`labels` must have ids from 0 to 255, got {wrong}')
        return cls(names, colours)

    def to_json(self) -> str:
        """Inverse of `from_json`."""
        return json.dumps(
            {
                str(i): {'name': name, 'rgb': list(self.colours[i])}
                for i, name in self.names.items()
            }
        )

    def palette(self) -> NDArray[np.uint8]:
        """Colours of all ids, (256, 3); grey where unknown."""
        table = np.full((256, 3), _UNKNOWN_COLOUR, np.uint8)
        for index, colour in self.colours.items():
            table[index] = colour
        return table

    def keep(self, wanted: Sequence[str]) -> tuple[NDArray[np.bool_], list[str]]:
        """Find classes by name or id.

        Args:
            wanted: Names or ids. None given: every class with a name, or every id but 255
                (unlabelled) while no names are known.

        Returns:
            Which ids are meant, (256,), and the entries of `wanted` that match no class.
        """
        if not wanted:
            return self._labelled(), []
        return self._find(wanted)

    def without(
        self, unwanted: Sequence[str], *, drops_unlabelled: bool
    ) -> tuple[NDArray[np.bool_], list[str]]:
        """All ids but those of some classes.

        Args:
            unwanted: Names or ids of the classes.
            drops_unlabelled: Leave out 255 (unlabelled), too, and ids that have no name while
                names are known.

        Returns:
            Which ids remain, (256,), and the entries of `unwanted` that match no class.
        """
        remains = self._labelled() if drops_unlabelled else np.ones(256, np.bool_)
        is_unwanted, unknown = self._find(unwanted)
        return remains & ~is_unwanted, unknown

    def named(self, name: str) -> NDArray[np.bool_]:
        """Which ids have a name, (256,); none if it is unknown."""
        is_named = np.zeros(256, np.bool_)
        is_named[[index for index, known in self.names.items() if known == name]] = True
        return is_named

    def _labelled(self) -> NDArray[np.bool_]:
        is_labelled = np.zeros(256, np.bool_)
        is_labelled[list(self.names) or slice(255)] = True
        return is_labelled

    def _find(self, entries: Sequence[str]) -> tuple[NDArray[np.bool_], list[str]]:
        is_found = np.zeros(256, np.bool_)
        unknown = []
        for text in entries:
            found = [index for index, name in self.names.items() if name == text]
            if not found and text.isascii() and text.isdigit() and int(text) <= 255:
                found = [int(text)]
            if not found:
                unknown.append(text)
            is_found[found] = True
        return is_found, unknown


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'`name` must be a text, got {value!r}')
    value.encode()  # half a pair of surrogates could not be published again
    return value


def _colour(value: object) -> RGB:
    if (colour := parse_colour(value)) is None:
        raise ValueError(f'`rgb` must be three whole numbers from 0 to 255, got {value!r}')
    return colour
