"""Exports of distilled sets: folders of PNGs, npz and Parquet files, with a card that describes them."""
