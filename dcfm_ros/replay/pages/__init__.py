"""HTML pages and their plots, from results that are already computed.

Uses ``masks`` for colours; computes no figures itself.
"""
