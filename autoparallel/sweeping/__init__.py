"""A sweep: one search a cell of a grid of problems, here or on a Dask cluster."""
