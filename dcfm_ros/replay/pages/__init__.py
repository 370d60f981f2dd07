"""The HTML pages of reports: `templates` say what they look like, the modules give the values.

Uses the rest of ``replay``.
"""
