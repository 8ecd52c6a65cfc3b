"""The measured claims of the README. `python -m bench` runs them; README.md here says how to read them."""
