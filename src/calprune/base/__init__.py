"""What all rooms stand on: files that are whole or absent, and progress."""
