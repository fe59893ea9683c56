"""What the cases do, through the public Python API."""
