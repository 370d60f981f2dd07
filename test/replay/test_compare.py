from __future__ import annotations

import json

from command import dcfm
import numpy as np
import pytest

from dcfm_ros.files import write_json, write_text
from dcfm_ros.masks.groups import read_groups
from dcfm_ros.replay.compare import compare_reports, read_report
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.report import frames_csv, report_of
from dcfm_ros.replay.run import ReplayRun, Resources

NAMES = ('a', 'b', 'c')
PALETTE = ((0, 0, 0), (9, 9, 9), (5, 5, 5))


def write_report(
    folder, factor=1.0, data='aa', interval=4, topic='/image', masks='m', quality=None, **config
):
    folder.mkdir()
    quality = quality or RunQuality(2)
    frames = [
        ReplayedFrame(
            time_s=index / 10,
            stamp_ns=index * 100_000_000,
            is_keyframe=index % interval == 0,
            keyframe_age=index % interval,
            latency_ms=factor * (index + 1),
            stage_ms={'common': 1.0} if index % interval == 0 else {},
        )
        for index in range(8)
    ]
    run = ReplayRun(
        name='drive',
        kind='offline',
        video='overlay.mp4',
        class_names=NAMES[: quality.num_classes],
        palette=PALETTE[: quality.num_classes],
        frames=frames,
        quality=quality,
        losses=[],
        masks_sha256=masks,
        resources=Resources(cpu_s=1.0),
        metadata={
            'data': {'sha256': data},
            'topic': topic,
            'label_topic': None,
            'config': {'keyframe_interval': interval, **config},
            'datetime': folder.name,
        },
    )
    # Without the page, which takes seconds to draw.
    write_json(folder / 'report.json', report_of(run))
    write_text(folder / 'frames.csv', frames_csv(run.frames))


@pytest.fixture
def reports(tmp_path):
    write_report(tmp_path / 'a')
    write_report(tmp_path / 'b', factor=0.5, interval=2, masks='n')
    return tmp_path / 'a', tmp_path / 'b'


def row_of(comparison, name):
    (row,) = (row for row in comparison['figures'] if row['figure'] == name)
    return row


def test_differences_count_from_the_first(reports, tmp_path):
    comparison = compare_reports(*reports, tmp_path / 'out')
    row = row_of(comparison, 'latency, max (ms)')
    assert (row['first'], row['second']) == (8, 4)
    assert (row['difference'], row['percent'], row['verdict']) == (-4, -50, 'better')
    share = row_of(comparison, 'keyframe share')
    assert (share['first'], share['second'], share['verdict']) == (0.25, 0.5, '')
    back = compare_reports(*reversed(reports), tmp_path / 'back')
    assert row_of(back, 'latency, max (ms)')['verdict'] == 'worse'


def write_grouped(folder, mask, members):
    """A report of 4 labelled pixels in groups of its 3 classes."""
    text = '\n'.join(f'{name}: [{", ".join(classes)}]' for name, classes in members.items())
    folder.with_suffix('.yaml').write_text(text)
    groups = read_groups(folder.with_suffix('.yaml'), NAMES, PALETTE)
    quality = RunQuality(3, groups)
    label = np.array([[0, 0], [1, 2]], np.uint8)
    quality.add(np.array(mask, np.uint8), label=label, reference=label, age=0, is_keyframe=True)
    quality.end()
    write_report(folder, quality=quality, groups=groups.members(NAMES))


def test_groups_are_compared_and_other_groups_are_a_setting(tmp_path):
    thing = {'ground': ['a'], 'thing': ['b', 'c']}
    write_grouped(tmp_path / 'a', [[0, 0], [2, 1]], thing)  # b for c, and c for b
    write_grouped(tmp_path / 'b', [[0, 1], [1, 2]], thing)
    write_grouped(tmp_path / 'c', [[0, 1], [1, 2]], {'ground': ['a'], 'thing': ['b']})
    comparison = compare_reports(tmp_path / 'a', tmp_path / 'b', tmp_path / 'out')
    for name in ('mIoU of groups', 'mIoU of groups to per-frame'):
        row = row_of(comparison, name)
        assert row['first'] == 1
        assert row['second'] == pytest.approx((1 / 2 + 2 / 3) / 2)
        assert row['verdict'] == 'worse'
    assert row_of(comparison, 'mIoU')['verdict'] == 'better'
    rows = {row['figure']: row['second'] for row in comparison['group_iou']}
    assert rows == pytest.approx({'ground': 1 / 2, 'thing': 2 / 3})
    assert 'IoU per group' in (tmp_path / 'out/comparison.html').read_text()
    assert comparison['settings'] == []
    others = compare_reports(tmp_path / 'b', tmp_path / 'c', tmp_path / 'out')
    (setting,) = others['settings']
    assert setting['setting'] == 'config.groups.thing'
    assert (setting['first'], setting['second']) == (['b', 'c'], ['b'])


def test_settings_that_differ_are_listed(reports, tmp_path):
    comparison = compare_reports(*reports, tmp_path / 'out')
    assert comparison['settings'] == [
        {'setting': 'config.keyframe_interval', 'first': 4, 'second': 2}
    ]
    assert comparison['same_masks'] is False


def test_difference_too_small_to_show_is_no_verdict(tmp_path):
    write_report(tmp_path / 'a', factor=1.0)
    write_report(tmp_path / 'b', factor=1.0009)
    write_report(tmp_path / 'c', factor=1.0011)
    for other, verdict in (('b', ''), ('c', 'worse')):
        comparison = compare_reports(tmp_path / 'a', tmp_path / other, tmp_path / 'out')
        assert row_of(comparison, 'latency, max (ms)')['verdict'] == verdict


def test_latency_of_engine_and_of_node_is_told_apart(reports, tmp_path):
    file = reports[1] / 'report.json'
    write_json(file, json.loads(file.read_text()) | {'kind': 'online'})
    comparison = compare_reports(*reports, tmp_path / 'out')
    assert comparison['settings'][0] == {'setting': 'kind', 'first': 'offline', 'second': 'online'}


def test_figures_that_neither_has_are_left_out(reports, tmp_path):
    comparison = compare_reports(*reports, tmp_path / 'out')
    assert 'mIoU' not in [row['figure'] for row in comparison['figures']]


def test_report_equals_itself(reports, tmp_path):
    comparison = compare_reports(reports[0], reports[0] / 'report.json', tmp_path / 'out')
    assert {row['difference'] for row in comparison['figures']} == {0}
    assert {row['verdict'] for row in comparison['figures']} == {''}
    assert (comparison['settings'], comparison['same_masks']) == ([], True)


@pytest.mark.parametrize('other', [{'data': 'bb'}, {'topic': '/rear'}])
def test_other_recording_is_refused_unless_forced(reports, tmp_path, other):
    write_report(tmp_path / 'c', **other)
    with pytest.raises(ValueError, match='not of the same recording'):
        compare_reports(reports[0], tmp_path / 'c', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    comparison = compare_reports(reports[0], tmp_path / 'c', tmp_path / 'out', force=True)
    assert comparison['same_recording'] is False
    assert 'not of the same recording' in (tmp_path / 'out/comparison.html').read_text()


def test_command_prints_and_writes_the_comparison(reports, tmp_path):
    outcome = dcfm('replay', '--compare', *reports, '--report', tmp_path / 'out')
    assert outcome.returncode == 0, outcome.stderr
    assert 'latency, p99 (ms)' in outcome.stdout
    assert 'masks: not the same' in outcome.stdout
    written = json.loads((tmp_path / 'out/comparison.json').read_text())
    assert row_of(written, 'latency, mean (ms)')['second'] == 2.25
    page = (tmp_path / 'out/comparison.html').read_text()
    assert 'config.keyframe_interval' in page
    assert page.count('<svg') == 1


@pytest.mark.parametrize('text', ['nothing', '{}', '{"format_version": 1}', '[]'])
def test_file_that_is_no_report_is_named(tmp_path, text):
    (tmp_path / 'report.json').write_text(text)
    with pytest.raises(ValueError, match=r'report\.json is not a replay report'):
        read_report(tmp_path)


def test_report_of_another_version_is_refused(reports):
    file = reports[0] / 'report.json'
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match='format version 2, known is 1'):
        read_report(reports[0])


def test_missing_report_is_a_file_not_found_error(tmp_path):
    outcome = dcfm('replay', '--compare', tmp_path / 'x', tmp_path / 'y')
    assert outcome.returncode == 1
    assert 'No such file' in outcome.stderr
