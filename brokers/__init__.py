"""How each broker speaks: one folder per broker, and `_kit` with the technique they share."""
