"""What people read of a result: wording, rows, and the page with its figures."""
