"""The files of a bundle: reads, writes, zips and converts them."""
