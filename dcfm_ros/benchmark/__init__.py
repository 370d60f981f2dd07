"""`dcfm bench`: ``run`` times ``rivals`` by ``interleave``, ``tables`` shows what came out.

``plain_order`` is the paper's order of operations, ``image_network`` the same backbone per frame;
``operations`` counts multiply-adds, ``memory`` and ``node_share`` watch processes of their own.
``python -m dcfm_ros.benchmark`` is the command without typer.
"""
