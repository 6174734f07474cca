"""Tables, figures, provenance and the site, from run records alone."""
