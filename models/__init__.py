"""The DCFM network.

``config``, ``labels``, ``dcfm``, ``backbone``, ``fusion``, ``head``, ``checkpoint``, ``official``.
"""
