"""Video semantic segmentation for ROS 2 with Deep Common Feature Mining (DCFM).

A camera image comes in, a semantic mask for that image goes out. A deep encoder runs on keyframes
only; its common feature is cached and fused with the shallow independent feature of every frame.

The parts, in the order in which a frame meets them; calls and imports point downward only:

- ``node`` (with ``messages``, ``parameters``): the ROS 2 node; ``player`` is its peer.
- ``engine``: one public verb per frame, ``SegmentationEngine.step``. State between frames lives
  in the ``scheduler`` (when is a keyframe due) and the ``feature_cache`` (what the last one left).
- ``backends``: how the network is computed (PyTorch, OpenVINO, ONNX Runtime).
- ``models``: the network and its checkpoints; knows neither ROS nor the engine.

``training`` stands beside the node and uses the same models and the same engine. The tools on top
(``cli``, ``demo``, ``segment``, ``bench``) use all of them.
"""

__version__ = '0.1.0'
