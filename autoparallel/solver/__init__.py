"""The constraint model: the only importer of ortools."""
