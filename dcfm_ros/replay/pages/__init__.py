"""The HTML pages of reports: `render` fills `templates`, which call `plots`.

Uses the rest of ``replay``.
"""
