"""Elastic Load Balancing v2: Application and Network Load Balancers, their listeners, rules and target groups."""
