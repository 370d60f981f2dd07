"""Video semantic segmentation for ROS 2 with Deep Common Feature Mining (DCFM).

A camera image comes in, a semantic mask for that image goes out. A deep encoder runs on keyframes
only; its common feature is cached and fused with the shallow independent feature of every frame.

Each folder is a room; a room uses only the rooms below it:

- ``cli``: the command line, one file per verb.
- ``replay``, ``benchmark``, ``deploy``: tools that run the engine, or the node over DDS.
- ``training``: footage, pairs, evaluation, studies.
- ``node``, ``cloud``, ``play``: the segmentation node, the labelled cloud, the node's peer.
- ``ros``: the parts of a node.
- ``engine``: one public verb per frame, ``SegmentationEngine.step``.
- ``recordings``, ``synthetic``: frames without ROS.
- ``keyframes``: when is a keyframe, and what does it leave behind. The state between frames.
- ``backends``: how the network is computed.
- ``masks``, ``images``, ``models``: arrays, and the network itself.
"""

__version__ = '0.1.0'
