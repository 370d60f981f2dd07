"""Training pairs (reference frame, labelled frame, label): where they come from, how they are varied."""
