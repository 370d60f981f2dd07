"""`dcfm bench`: ``run`` times ``rivals`` by ``interleave``; ``sections`` turns that into tables.

``plain_order`` is the paper's order of operations, ``image_network`` the same backbone per frame;
``memory``, ``node_share`` and ``transport`` watch processes of their own. ``gpu_check`` runs all
that needs a GPU, with what is in ``gpu``. Uses ``engine``, ``recordings``, ``synthetic``, and
``play`` for what needs ROS.
"""
