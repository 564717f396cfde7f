"""The catalogue of messages, one YAML file per language."""
