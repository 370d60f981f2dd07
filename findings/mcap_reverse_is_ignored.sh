#!/usr/bin/env bash
# What happens: iter_messages(reverse=True) of the mcap package returns the messages of a file
#   without chunks from oldest to newest, as if reverse had not been asked for. With chunks it
#   returns the newest first. There is no error and no warning.
# Why it matters: `ros2 bag record -s mcap --storage-preset-profile fastwrite` writes no chunks.
#   Code that takes the first message in reverse as the last mask, the current label map or the
#   end of a drive works on all other bags, and gets the oldest message of these.
# Workaround: sort by log_time, or trust reverse only if get_summary().chunk_indexes has entries.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq mcap==1.6.0
venv/bin/python -I - <<'PYTHON'
from importlib.metadata import version

from mcap.reader import make_reader
from mcap.writer import Writer


def write(path, use_chunking):
    writer = Writer(path, use_chunking=use_chunking)
    writer.start()
    schema_id = writer.register_schema('std_msgs/msg/String', 'ros2msg', b'string data')
    channel_id = writer.register_channel('/segmentation/labels', 'cdr', schema_id)
    for stamp in (100, 200, 300):
        writer.add_message(channel_id, log_time=stamp, data=b'', publish_time=stamp)
    writer.finish()


def stamps(path, **options):
    with open(path, 'rb') as stream:
        return [message.log_time for _, _, message in make_reader(stream).iter_messages(**options)]


write('chunks.mcap', use_chunking=True)
write('plain.mcap', use_chunking=False)
with_chunks = stamps('chunks.mcap', reverse=True)
without_chunks = stamps('plain.mcap', reverse=True)
print(f'versions: mcap {version("mcap")}')
print(f'expected: the newest message first, as in a file with chunks: {with_chunks}')
print(f'seen: in a file without chunks: {without_chunks}')
if with_chunks != [300, 200, 100]:
    raise SystemExit('The file with chunks is not read as expected: this is another problem.')
if without_chunks != [100, 200, 300]:
    raise SystemExit('The behaviour has changed: the order is no longer ascending.')
print('The surprise is still there.')
PYTHON
