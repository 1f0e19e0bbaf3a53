"""`ftctl reconcile --watch`: one pass after another, until a signal ends it."""
