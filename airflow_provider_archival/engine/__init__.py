"""Runs any plan: attach, take the result, or submit; remember; wait; settle; finish; forget."""
