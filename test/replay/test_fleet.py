from __future__ import annotations

from functools import partial
import json

from command import dcfm
import pytest
from small_recording import make_frames, make_options

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.replay.fleet import replay_fleet
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording

pytestmark = pytest.mark.slow


def test_fleet_merges_its_recordings_and_reports_those_that_fail(small_bag, weights, tmp_path):
    write_bag(tmp_path / 'drive', make_frames(4))
    (tmp_path / 'broken.mcap').write_bytes(b'nothing')
    outcome = dcfm(
        'replay', small_bag, tmp_path / 'broken.mcap', tmp_path / 'drive', '--topic',
        '/camera/image_raw', '--interval', 3, '--checkpoint', weights, '--backend', 'torch',
        '--report', tmp_path / 'fleet',
    )  # fmt: skip
    assert outcome.returncode == 1
    assert '1 of 3 recordings failed' in outcome.stderr
    assert 'broken.mcap cannot be read as a bag' in outcome.stderr
    folder = tmp_path / 'fleet'
    assert {path.name for path in folder.iterdir()} == {
        'drive', 'drive_2', 'fleet.html', 'fleet.json',
    }  # fmt: skip
    fleet = json.loads((folder / 'fleet.json').read_text())
    reports = [json.loads((folder / n / 'report.json').read_text()) for n in ('drive', 'drive_2')]
    totals = fleet['totals']
    assert [row['frames'] for row in fleet['rows'] if not row['error']] == [10, 4]
    assert totals['frames_sent'] == 14
    assert totals['keyframe_share'] == pytest.approx((4 + 2) / 14)
    shares = [report['fidelity']['pixel_accuracy'] for report in reports]
    weighted = (10 * shares[0] + 4 * shares[1]) / 14
    assert totals['fidelity']['pixel_accuracy'] == pytest.approx(weighted)
    assert totals['latency_ms']['max'] == max(r['latency_ms']['max'] for r in reports)
    page = (folder / 'fleet.html').read_text()
    assert 'href="drive_2/report.html"' in page
    assert 'broken.mcap cannot be read' in page


def test_processes_give_the_masks_of_one(small_bag, weights, tmp_path):
    options = make_options(weights, fidelity=False)
    opened = partial(open_recording, options=RecordingOptions(topic='/camera/image_raw'))
    source, hashes = [str(small_bag)], []
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        fleet = replay_fleet(source, folder, opened, options, jobs=jobs, threads=1)
        hashes.append(fleet['rows'][0]['masks_sha256'])
    assert hashes[0] == hashes[1]
    assert hashes[0] is not None


def test_fleet_has_the_groups_of_each_recording_and_of_all(small_bag, weights, tmp_path):
    classes = [f'class {index}' for index in range(11)]
    groups = tmp_path / 'groups.yaml'
    groups.write_text(f'few: [{", ".join(classes[:2])}]\nrest: [{", ".join(classes[2:])}]')
    outcome = dcfm(
        'replay', small_bag, small_bag, '--topic', '/camera/image_raw', '--label-topic',
        '/camera/label', '--checkpoint', weights, '--backend', 'torch', '--groups', groups,
        '--fidelity', '--report', tmp_path / 'fleet',
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    fleet = json.loads((tmp_path / 'fleet' / 'fleet.json').read_text())
    for row in fleet['rows']:
        report = json.loads((tmp_path / 'fleet' / row['report'] / 'report.json').read_text())
        assert row['group_miou'] == report['accuracy']['group_miou'] > 0
        assert row['fidelity_group_miou'] == report['fidelity']['group_miou'] > 0
        assert report['metadata']['config']['groups'] == {'few': classes[:2], 'rest': classes[2:]}
    # Twice the same frames are as good as once.
    assert fleet['totals']['accuracy']['group_miou'] == pytest.approx(row['group_miou'])
    assert 'group_miou' in outcome.stdout.split()
    page = (tmp_path / 'fleet' / 'fleet.html').read_text()
    assert '<th>mIoU of groups</th>' in page
    assert '<th>mIoU of groups to per-frame</th>' in page


def test_a_wrong_file_of_groups_is_told_before_the_first_recording(small_bag, weights, tmp_path):
    (tmp_path / 'groups.yaml').write_text('person: [human]')
    outcome = dcfm(
        'replay', small_bag, small_bag, '--topic', '/camera/image_raw', '--checkpoint', weights,
        '--groups', tmp_path / 'groups.yaml', '--report', tmp_path / 'fleet',
    )  # fmt: skip
    assert outcome.returncode != 0
    assert outcome.stderr.count("group person has 'human', which is no class") == 1
    assert not (tmp_path / 'fleet').exists()
