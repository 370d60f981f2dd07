#!/usr/bin/env bash
# What happens: on ROS 2 Kilted (Fast DDS 3) the deprecated variable FASTRTPS_DEFAULT_PROFILES_FILE overrides
#   FASTDDS_DEFAULT_PROFILES_FILE, although the warning about it says to use the new one instead: both
#   files are loaded, the old one's first, and what the new one calls by the same name is refused. With
#   other names for profile and transport the new one wins.
# Why it matters: the profile decides how much shared memory there is for images; too little, and
#   most images of 640x480 are lost without a word. A machine where Jazzy and Kilted live side by side has
#   both variables set, and whoever then edits a copy of the profile for Kilted keeps the old settings.
# Workaround: set only the variable that the installed Fast DDS reads, and unset the other; the size of
#   /dev/shm/fastdds_* (fastrtps_* up to Fast DDS 2) shows which profile is in use.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# A sourced ROS installation would be found before the wheels.
unset AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
unset FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 'ros-rclpy[fastrtps]==9.1.2' ros-rmw-fastrtps-cpp==9.3.3 \
    ros-rmw-fastrtps-shared-cpp==9.3.3 ros-fastdds==3.2.3
for mb in 8 32; do
    cat > "$mb.xml" <<XML
<dds xmlns="http://www.eprosima.com">
  <profiles>
    <transport_descriptors>
      <transport_descriptor>
        <transport_id>shm</transport_id>
        <type>SHM</type>
        <segment_size>${mb}000000</segment_size>
      </transport_descriptor>
    </transport_descriptors>
    <participant profile_name="images" is_default_profile="true">
      <rtps>
        <userTransports><transport_id>shm</transport_id></userTransports>
        <useBuiltinTransports>false</useBuiltinTransports>
      </rtps>
    </participant>
  </profiles>
</dds>
XML
done
cat > node.py <<'PYTHON'
import re

import rclpy

rclpy.init()
node = rclpy.create_node('anybody')
sizes = []
for line in open('/proc/self/maps'):
    if re.search(r'/dev/shm/(fastdds|fastrtps)_[0-9a-f]+$', line.strip()):
        first, last = (int(word, 16) for word in line.split()[0].split('-'))
        sizes.append(last - first)
print(round(max(sizes) / 1e6))
PYTHON
segment() { env "$@" venv/bin/python node.py 2>>log; }

echo "versions: ros-rclpy 9.1.2, rmw_fastrtps 9.3.3, Fast DDS 3.2.3, $(venv/bin/python --version)"
new=$(segment FASTDDS_DEFAULT_PROFILES_FILE="$work/8.xml")
both=$(segment FASTDDS_DEFAULT_PROFILES_FILE="$work/8.xml" FASTRTPS_DEFAULT_PROFILES_FILE="$work/32.xml")
echo "seen: $(grep -om1 'FASTRTPS_DEFAULT_PROFILES_FILE value.*' log)"
echo "seen: the new variable alone, with 8 MB: a segment of $new MB"
echo 'expected: the same with the deprecated variable beside it, which asks for 32 MB'
echo "seen: a segment of $both MB"
if [ "$new" -gt 12 ]; then
    echo 'The new variable is not read at all: this is another problem.'
    exit 1
fi
if [ "$both" -lt 30 ]; then
    echo 'The behaviour has changed: the new variable wins.'
    exit 1
fi
echo 'The surprise is still there.'
