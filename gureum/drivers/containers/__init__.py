"""Containers by crun and conmon: machines, applications, what is run inside, consoles, and files seen from outside."""
