"""Custom kinds: what a CustomResourceDefinition may say (definition_parts, structural), and the kinds that come of it (custom)."""
