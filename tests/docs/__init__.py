"""The pages for people: their examples load, their commands exist, the tutorial runs."""
