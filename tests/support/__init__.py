"""What tests share: one module a real thing that they start, or a kind of thing that they look at."""
