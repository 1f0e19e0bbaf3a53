"""`ftctl move`: a fine-tune's spec edited for another backend, endpoint or base model."""
