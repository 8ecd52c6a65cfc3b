"""The JSON shapes of every door: pydantic v2, strict, unknown fields refused; each knows its domain value."""
