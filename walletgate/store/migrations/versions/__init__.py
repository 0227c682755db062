"""One file a step; the number is the order."""
