"""Model packages: written from a study; used to score and embed patients; checked on other databases."""
