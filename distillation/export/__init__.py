"""Distilled sets for others: folders of PNGs, npz and Parquet files, with a card that says what they are."""
