"""`make bench`: this project beside its opponents."""
