"""The classic mistakes of taking money, each made on purpose to see which test notices: `make mutants`."""
