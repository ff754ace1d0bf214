"""Readers and downloads: from published files or a user's archive to one RealSet."""
