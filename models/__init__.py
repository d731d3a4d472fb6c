"""The models that Edgewise ships: architectures, how they were trained, and the catalog of weights."""
