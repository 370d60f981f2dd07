"""The DCFM network and its checkpoints. Uses nothing else of the package.

``config``, ``labels``, ``dcfm``, ``backbone``, ``timm_backbone``, ``fusion``, ``head``,
``checkpoint``, ``official``; ``split_decoder`` and the rest of ``split_*`` for decoders of other
libraries.
"""
