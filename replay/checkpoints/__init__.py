"""Checkpoints: saved state that a run resumes from, in a place of one's choice."""
