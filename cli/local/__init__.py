"""What a laptop needs and production never imports: embedded servers, simulators, the demo."""
