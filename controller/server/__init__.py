"""A server that speaks the OpenAI fine-tuning and chat protocol, and trains with a `Backend`.

Requests are answered from records in memory, each of which is also a file below the state folder.
A background task runs the jobs. Only this package and `controller.cli.serve` use HTTP.
"""
