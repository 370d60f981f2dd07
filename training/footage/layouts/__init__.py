"""How each dataset lays out its files; `datasets` chooses among these modules."""
