"""The main job on embedded parts."""
