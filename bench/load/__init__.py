"""How much the gateway carries, L-1 to L-6 and L-9: one module per load, `section.py` runs them."""
