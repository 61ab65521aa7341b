"""How any stage of training runs; knows no method of search."""
