"""The DCFM network.

``config``, ``labels``, ``dcfm``, ``backbone``, ``timm_backbone``, ``fusion``, ``head``,
``checkpoint``, ``official``.
"""
