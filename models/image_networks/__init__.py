"""Networks that were made for single images, by other libraries, in the stages of an engine."""
