"""The parts that `figures` puts together: data, style and one module per kind of figure."""
