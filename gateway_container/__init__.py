"""What happens now: the one process that owns broker sessions, decides, journals and sends."""
