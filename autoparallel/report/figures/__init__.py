"""One file a figure: ``_get_info`` does all computing, ``_get_plot`` all drawing."""
