"""Rolling a run back: files as they were, and what cannot be undone."""
