"""The Kubernetes face."""
