"""What the encoders must beat: models on counted codes, on identical patients."""
