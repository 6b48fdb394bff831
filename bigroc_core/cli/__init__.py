"""`python -m bigroc_core`: one file per command."""
