"""What a user does with images of her own: choose, rate, compare. One file per command."""
