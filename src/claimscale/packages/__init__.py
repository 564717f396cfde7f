"""Model packages on disk: their files, settings, vocabulary and weights, checked before they are used."""
