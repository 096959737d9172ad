"""Operators that archive, unarchive and export."""
