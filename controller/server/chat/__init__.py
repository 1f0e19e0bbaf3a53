"""Chat completions: requests, engines and answers."""
