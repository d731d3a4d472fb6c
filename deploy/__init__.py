"""A variant leaves the house: the package, the report, the recipe, and the code that runs on the device."""
