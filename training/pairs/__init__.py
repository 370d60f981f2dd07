"""Training pairs (reference frame, labelled frame, label): their sources and augmentation."""
