"""How the files of each dataset lie; `datasets` chooses among them."""
