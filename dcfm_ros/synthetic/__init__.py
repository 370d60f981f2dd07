"""Parts of the synthetic drive: what stands in the street, how it looks, how it is painted."""
