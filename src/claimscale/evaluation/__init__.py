"""From predictions to what may be said about them: metrics, intervals, verdicts."""
