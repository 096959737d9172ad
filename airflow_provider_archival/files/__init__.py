"""What we put into object storage."""
