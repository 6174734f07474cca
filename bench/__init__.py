"""How fast, against the plain recipe, in one run. `make bench`."""
