"""The DCFM network: ``config``, ``dcfm``, ``backbone``, ``fusion``, ``head``, ``checkpoint``, ``official``."""
