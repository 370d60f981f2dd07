"""What a camera sends -> arrays: raw, compressed and depth images, and calibrations. No ROS.

Uses nothing of the package.
"""
