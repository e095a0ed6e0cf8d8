"""What every module about files shares: looking at a path, writing it, and planning both."""
