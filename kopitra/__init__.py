"""What is true: the pure domain, the wire shapes and the store. No process lives here."""
