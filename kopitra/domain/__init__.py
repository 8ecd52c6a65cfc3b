"""Pure rules of copy trading; standard library only."""
