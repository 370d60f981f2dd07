"""The command line ``dcfm``: one file per verb. A verb imports what it needs when it runs.

Uses every other room.
"""
