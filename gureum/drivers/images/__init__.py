"""Images: the built-in ones, and layers from registries and archives of strangers."""
