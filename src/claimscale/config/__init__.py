"""The settings of a study: the study file, its sections and the task catalogue."""
