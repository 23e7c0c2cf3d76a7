"""How good a model is: windows, events, whole days, other wrists and watches, strangers."""
