"""What a user can ask for: generators of events, and jobs. Importing this package loads nothing."""
