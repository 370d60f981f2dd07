from __future__ import annotations

from contextlib import contextmanager
import csv
import hashlib
import json
import resource

from command import dcfm
import pytest
from small_recording import make_frames

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.replay.provenance import fingerprint
from dcfm_ros.replay.report import write_report


def test_fingerprint_of_one_file_is_what_md5sum_prints(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    (tmp_path / 'b').write_bytes(b'd')
    one = fingerprint([tmp_path / 'a', tmp_path / 'gone'])
    assert one['md5'] == hashlib.md5(b'abc').hexdigest()
    assert (one['size_bytes'], one['files']) == (3, ['a'])
    both = fingerprint([tmp_path / 'a', tmp_path / 'b'])
    assert both['sha256'] == hashlib.sha256(b'abcd').hexdigest()


def test_report_is_whole(small_bag, weights, tmp_path):
    folder = tmp_path / 'report'
    outcome = dcfm(
        'replay', small_bag, '--topic', '/camera/image_raw', '--truth-topic', '/camera/label',
        '--fidelity', '--interval', 3, '--checkpoint', weights, '--backend', 'torch',
        '--report', folder, '--json', tmp_path / 'copy.json',
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    names = {path.name for path in folder.iterdir()}
    assert names == {'report.html', 'report.json', 'frames.csv', 'overlay.mp4'}
    report = json.loads((folder / 'report.json').read_text())
    assert json.loads((tmp_path / 'copy.json').read_text()) == report
    assert report['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == 10
    assert report['keyframe_reasons'] == {'first': 1, 'interval': 3}
    assert report['stage_ms']['common']['nonkey'] is None
    assert report['resources']['cpu_s'] > 0
    assert report['resources']['peak_memory_mb'] > 50
    metadata = report['metadata']
    (file,) = small_bag.glob('*.mcap')
    assert metadata['data']['sha256'] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert metadata['data']['md5'] == hashlib.md5(file.read_bytes()).hexdigest()
    assert metadata['checkpoint_sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert metadata['config']['keyframe_interval'] == 3
    assert (metadata['rmw'], metadata['qos'], report['transport']) == (None, None, None)
    assert {'hostname', 'architecture', 'os', 'datetime', 'input_path'} <= metadata.keys()
    page = (folder / 'report.html').read_text()
    for heading in ('Latency', 'Keyframes', 'Accuracy', 'Fidelity', 'Header stamps', 'IoU per'):
        assert f'<h2>{heading}' in page
    assert page.count('<svg') == 10


def test_csv_has_a_line_for_every_frame(run, tmp_path):
    write_report(tmp_path, run)
    rows = list(csv.DictReader((tmp_path / 'frames.csv').open()))
    assert len(rows) == 10
    assert rows[3]['reason'] == 'interval'
    assert float(rows[3]['common_ms']) > 0
    assert rows[4]['common_ms'] == ''
    assert int(rows[4]['stamp_ns']) == 1_400_000_000
    assert float(rows[4]['agreement']) == pytest.approx(
        run.frames[4].quality['agreement'], abs=1e-4
    )


def test_lost_frames_are_in_the_report(weights, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(8))
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    outcome = dcfm(
        'replay', tmp_path / 'bag', '--topic', '/camera/image_raw', '--no-fidelity',
        '--checkpoint', weights, '--backend', 'torch', '--report', tmp_path / 'report',
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads((tmp_path / 'report/report.json').read_text())
    assert 1 <= report['frames_sent'] < 8
    missing = (
        f'{8 - report["frames_sent"]} of 8 messages on /camera/image_raw '
        'that metadata.yaml promises are missing'
    )
    assert missing in report['losses']
    assert missing in (tmp_path / 'report/report.html').read_text()
    assert f'note: {missing}' in outcome.stderr


@contextmanager
def file_size_limit(size):
    """Writes beyond it fail, as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('size', [2_000, 150_000])
def test_full_disk_is_reported_and_leaves_no_half_report(small_bag, weights, tmp_path, size):
    """It gets full in the midst of the video, or of the page."""
    with file_size_limit(size):
        outcome = dcfm(
            'replay', small_bag, '--topic', '/camera/image_raw', '--no-fidelity', '--checkpoint',
            weights, '--backend', 'torch', '--report', tmp_path / 'report',
        )  # fmt: skip
    assert outcome.returncode == 1, outcome.stderr
    assert 'the disk is full, nothing was kept' in outcome.stderr
    assert not list(tmp_path.iterdir())
