"""What is compared, one file a kind."""
