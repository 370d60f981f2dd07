#!/usr/bin/env bash
# What happens: a node that ends cleanly leaves a file of its own in /dev/shm if another process that it
#   talked to was killed before. A port in shared memory counts those that have it open, and the last one
#   removes it; a killed process never counts itself out, so nobody is the last.
# Why it matters: "nothing of ours is left in /dev/shm" is no test of a node's own clean end: it depends on
#   what became of its neighbours. On a robot where a camera driver crashes now and then, or containers are
#   killed, /dev/shm fills with ports of nodes that were stopped as they should be.
# Workaround: remove what no process has mapped once in a while (`fastdds shm clean` where Fast DDS's tools
#   are installed), and in tests leave ports out that a killed process had mapped.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# A sourced ROS installation would be found before the wheels.
unset AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
unset FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$((60 + RANDOM % 40))
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 'ros-rclpy[fastrtps]==7.1.6' ros-std-msgs==5.3.6 \
    ros-rmw-fastrtps-cpp==8.4.3 ros-rmw-fastrtps-shared-cpp==8.4.3 ros-fastrtps==2.14.5
cat > node.py <<'PYTHON'
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from std_msgs.msg import String

rclpy.init()
node = rclpy.create_node(sys.argv[1])
if sys.argv[1] == 'listener':
    node.create_subscription(String, 'it', lambda message: print('heard', flush=True), 10)
    node.create_timer(0.2, lambda: None)
else:
    publisher = node.create_publisher(String, 'it', 10)
    node.create_timer(0.05, lambda: publisher.publish(String(data='x')))
try:
    rclpy.spin(node)
except ExternalShutdownException:
    node.destroy_node()
PYTHON
cat > try.py <<'PYTHON'
import os
from pathlib import Path
import subprocess
import sys
import time

how = sys.argv[1]
log = Path(f'{how}.log')
with log.open('w') as file:
    listener = subprocess.Popen([sys.executable, 'node.py', 'listener'], stdout=file)
talker = subprocess.Popen([sys.executable, 'node.py', 'talker'])
end = time.monotonic() + 60
while 'heard' not in log.read_text():
    if time.monotonic() > end:
        sys.exit('the two did not find each other')
    time.sleep(0.05)
time.sleep(0.5)
# A process holds the locks, *_el, of what is its own.
links = [os.readlink(link) for link in Path(f'/proc/{listener.pid}/fd').iterdir()]
own = {Path(link.removesuffix('_el')) for link in links if link.endswith('_el')}
links += [os.readlink(link) for link in Path(f'/proc/{talker.pid}/fd').iterdir()]
talker.kill() if how == 'killed' else talker.terminate()
talker.wait()
listener.terminate()
if listener.wait():
    sys.exit(f'the listener ended with {listener.returncode}')
print(sum(path.exists() for path in own))
for lock in {Path(link) for link in links if link.endswith('_el')}:
    name = lock.name.removesuffix('_el')
    for path in (lock, lock.with_name(name), lock.with_name(f'sem.{name}_mutex')):
        path.unlink(missing_ok=True)
PYTHON

echo "versions: ros-rclpy 7.1.6, rmw_fastrtps 8.4.3, Fast DDS 2.14.5, $(venv/bin/python --version)"
stopped=$(venv/bin/python try.py stopped)
echo "seen: the talker stopped by SIGTERM, then the listener: exit code 0, $stopped files of its own left"
echo 'expected: the same where the talker was killed'
killed=$(venv/bin/python try.py killed)
echo "seen: the talker killed, then the listener stopped by SIGTERM: exit code 0, $killed files of its own left"
if [ "$stopped" -ne 0 ]; then
    echo 'The listener leaves files in any case: this is another problem.'
    exit 1
fi
if [ "$killed" -eq 0 ]; then
    echo 'The behaviour has changed: nothing of its own is left.'
    exit 1
fi
echo 'The surprise is still there.'
