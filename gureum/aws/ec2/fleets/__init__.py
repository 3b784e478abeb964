"""EC2 Fleets, Spot Fleets and Spot requests."""
