"""`ftctl reconcile --watch`: one pass after another, for as long as nobody ends it."""
