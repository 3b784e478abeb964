"""AWS Systems Manager: the public parameters that name images. Parameter Store, sessions and commands are not built yet."""
