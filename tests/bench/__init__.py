"""What the hot stages cost here, each beside something everyone can judge it by."""
