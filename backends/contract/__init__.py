"""The contract between the controller and every backend."""
