from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.masks.overlay import blend, colorize, draw_caption, with_mixtures

PALETTE = ((10, 20, 30), (200, 100, 0))
MASK = np.array([[0, 1], [1, 255]], np.uint8)
IMAGE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20


def test_colorize_looks_up_each_class():
    expected = [[[10, 20, 30], [200, 100, 0]], [[200, 100, 0], [0, 0, 0]]]
    assert colorize(MASK, PALETTE).tolist() == expected


def test_colorize_paints_ids_beyond_the_palette_black():
    assert colorize(np.full((1, 1), 2, np.uint8), PALETTE).tolist() == [[[0, 0, 0]]]


def test_sets_of_classes_get_the_mean_of_their_colours():
    assert with_mixtures(PALETTE, [(0, 1), (1,)]) == (*PALETTE, (105, 60, 15), (200, 100, 0))
    assert with_mixtures(PALETTE, []) == PALETTE


def test_blend_mixes_by_alpha():
    mixed = blend(IMAGE, MASK, PALETTE, alpha=0.25)
    expected = 0.75 * IMAGE[0, 1] + 0.25 * np.array(PALETTE[1])
    assert np.abs(mixed[0, 1] - expected).max() <= 0.5


def test_blend_leaves_void_pixels_and_the_input_unchanged():
    before = IMAGE.copy()
    assert (blend(IMAGE, MASK, PALETTE)[1, 1] == before[1, 1]).all()
    assert (before == IMAGE).all()


@pytest.mark.parametrize('alpha', [-0.1, 1.1, float('nan')])
def test_blend_refuses_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match='`alpha` must be'):
        blend(IMAGE, MASK, PALETTE, alpha=alpha)


def test_blend_refuses_an_image_of_another_size():
    with pytest.raises(ValueError, match='`image` must be uint8 of shape'):
        blend(IMAGE[:1], MASK, PALETTE)


@pytest.mark.parametrize('mask', [MASK.astype(np.int64), MASK[None]])
def test_colorize_refuses_masks_of_another_type_or_shape(mask):
    with pytest.raises(ValueError, match='`mask` must be'):
        colorize(mask, PALETTE)


def test_colorize_refuses_an_empty_palette():
    with pytest.raises(ValueError, match='`palette` must have'):
        colorize(MASK, ())


def test_caption_changes_only_the_top_of_a_copy():
    image = np.full((90, 160, 3), 120, np.uint8)
    captioned = draw_caption(image, 'a caption that is far too long for this narrow image, really')
    assert (image == 120).all()
    assert (captioned[:10] > 200).any()
    assert (captioned[45:] == 120).all()
