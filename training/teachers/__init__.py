"""Teachers: what sees more than the wrist, and says what it saw as logits and a 300-d tap."""

from __future__ import annotations

FEATURES = 300
"""Size of a teacher's tap, as the student's; 300 because VSKD's family compares it with GloVe vectors."""
