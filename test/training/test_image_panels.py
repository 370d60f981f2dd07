import cv2
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
import torch
from torch.utils.data import DataLoader, default_collate

from dcfm_ros.masks.overlay import colorize
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.training.image_panels import ImagePanels, draw_panels
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.pairs.pair_dataset import TrainingPair

HEIGHT, WIDTH = 32, 64
PALETTE = ((250, 10, 20), (30, 240, 40), (50, 60, 230))


def pairs(count):
    """Frames of noise; labels of three stripes, the first without a class."""
    torch.manual_seed(0)
    label = (torch.arange(WIDTH) // 16).to(torch.uint8).expand(HEIGHT, WIDTH) - 1
    frames = torch.randint(0, 256, (count, 2, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    return [TrainingPair(*two, label.roll(i, 1)) for i, two in enumerate(frames)]


def fit(panels, logger, folder, epochs):
    """Train a tiny network; five pairs are validated after every step, two at a time."""
    torch.set_num_threads(1)
    config = DCFMConfig(backbone='mit_b0', num_classes=3, fuse_channels=8, palette=PALETTE)
    torch.manual_seed(0)
    module = SymmetricTraining(config)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator='cpu',
        logger=logger,
        callbacks=[panels],
        default_root_dir=folder,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2,
    )
    trainer.fit(module, DataLoader(pairs(2), batch_size=2), DataLoader(pairs(5), batch_size=2))
    return module


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """The module after three steps, and what stands in the event file."""
    folder = tmp_path_factory.mktemp('log')
    panels = ImagePanels(num_images=3)
    module = fit(panels, TensorBoardLogger(folder, name='', version=''), folder, epochs=3)
    events = EventAccumulator(str(folder), size_guidance={'images': 0})
    events.Reload()
    return module, events


def last_panel(events, index):
    encoded = events.Images(f'validation/{index}')[-1].encoded_image_string
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def columns(panel):
    return np.split(panel, 5, axis=1)


def test_the_first_pairs_are_shown_at_every_validation(written):
    _, events = written
    assert events.Tags()['images'] == ['validation/0', 'validation/1', 'validation/2']
    for tag in events.Tags()['images']:
        assert [event.step for event in events.Images(tag)] == [1, 2, 3]


def test_panels_have_five_columns(written):
    for index in range(3):
        assert last_panel(written[1], index).shape == (HEIGHT, 5 * WIDTH, 3)


def test_frames_are_shown_as_they_are(written):
    for index, pair in enumerate(pairs(3)):
        reference, labelled, *_ = columns(last_panel(written[1], index))
        assert np.array_equal(reference, pair.reference.permute(1, 2, 0))
        assert np.array_equal(labelled, pair.labelled.permute(1, 2, 0))


def test_labels_have_the_colours_of_their_classes(written):
    for index in range(3):
        label = columns(last_panel(written[1], index))[2]
        for stripe, colour in enumerate(((0, 0, 0), *PALETTE)):
            assert label[5, (16 * stripe + 8 + index) % WIDTH].tolist() == list(colour)


def test_predictions_are_those_of_the_network(written):
    module, events = written
    with torch.no_grad():
        logits = module.eval().predict_pair(default_collate(pairs(2)))
    masks = {
        role: values.argmax(dim=1).numpy().astype(np.uint8) for role, values in logits.items()
    }
    assert (masks['key'] != masks['nonkey']).any()
    for index in range(2):
        *_, key, nonkey = columns(last_panel(events, index))
        assert np.array_equal(key, colorize(masks['key'][index], PALETTE))
        assert np.array_equal(nonkey, colorize(masks['nonkey'][index], PALETTE))


def test_shrunk_frames_are_shown_at_the_size_of_the_label(written):
    shrunk = torch.full((1, 3, HEIGHT, WIDTH), 90, dtype=torch.uint8)
    label = torch.full((1, 2 * HEIGHT, 2 * WIDTH), 2, dtype=torch.uint8)
    [panel] = draw_panels(written[0], TrainingPair(shrunk, shrunk + 1, label))
    assert panel.shape == (2 * HEIGHT, 5 * 2 * WIDTH, 3)
    for column, colour in zip(columns(panel), ((90,) * 3, (91,) * 3, PALETTE[2]), strict=False):
        assert (column == colour).all()


def test_sets_of_classes_have_mixed_colours(written):
    module = written[0]
    frame = torch.zeros((1, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    module.class_sets = ((0, 1), (0, 1, 2))
    [panel] = draw_panels(module, TrainingPair(frame, frame, torch.full_like(frame[:, 0], 3)))
    module.class_sets = ()
    assert (columns(panel)[2] == (140, 125, 30)).all()


def test_without_tensorboard_it_says_so_once(tmp_path):
    with pytest.warns(UserWarning, match='no image panels are written') as warnings:
        fit(ImagePanels(), False, tmp_path, epochs=2)
    assert sum('image panels' in str(warning.message) for warning in warnings) == 1


def test_no_images_are_refused():
    with pytest.raises(ValueError, match='`num_images` must be at least 1, got 0'):
        ImagePanels(0)
