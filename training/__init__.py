"""Training and evaluation, offline.

Rooms, each of which may use those before it: ``footage`` (datasets), ``pairs`` (what is trained
on), ``evaluation``, ``studies`` (ablations), ``plots``. Beside them the training itself:
``train``, ``lightning_cli``, ``module``, ``data``, ``losses``, ``optimisation``. Uses the engine
and what lies below it; nothing of ROS.
"""
