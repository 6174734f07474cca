"""What a user does with images of her own: choose, rate, score, explain, export, serve. One file per command."""
