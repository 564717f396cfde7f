"""Every setting of a study, and the study file."""
