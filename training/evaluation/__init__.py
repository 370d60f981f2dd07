"""The parts that `evaluate` puts together: passes over clips, what they count, and their jobs."""
